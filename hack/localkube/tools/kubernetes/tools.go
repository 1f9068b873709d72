//go:build tools

// Package tools pins the commands of one Kubernetes node and what installs things in it: `go mod
// tidy` keeps what they need in go.mod, and `localkube build` builds them from exactly these
// versions. They are one module so that the packages that they share are compiled once.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v3/cmd/helm"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
