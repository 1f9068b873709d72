//go:build tools

// Package tools pins the helm command; its Kubernetes libraries differ from the node's, hence a
// module of its own.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
