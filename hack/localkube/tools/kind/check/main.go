// Command check decodes a kind configuration as kind itself does: strictly, with kind's types and
// defaults. It prints the number of nodes, or says what is wrong and exits with 1.
package main

import (
	"bytes"
	"fmt"
	"os"

	yaml "go.yaml.in/yaml/v3"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

const apiVersion = "kind.x-k8s.io/v1alpha4"

func check(raw []byte) (*v1alpha4.Cluster, error) {
	cluster := &v1alpha4.Cluster{}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)
	if err := decoder.Decode(cluster); err != nil {
		return nil, err
	}
	if cluster.Kind != "Cluster" || cluster.APIVersion != apiVersion {
		return nil, fmt.Errorf("wanted kind Cluster of %s, found %q of %q", apiVersion, cluster.Kind, cluster.APIVersion)
	}
	v1alpha4.SetDefaultsCluster(cluster)
	return cluster, nil
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check FILE")
		os.Exit(2)
	}
	raw, err := os.ReadFile(os.Args[1])
	if err == nil {
		var cluster *v1alpha4.Cluster
		if cluster, err = check(raw); err == nil {
			fmt.Printf("%d nodes\n", len(cluster.Nodes))
			return
		}
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
	os.Exit(1)
}
