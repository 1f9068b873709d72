//go:build tools

// Package tools pins the programs that look through the chart's objects in tests.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "github.com/zegl/kube-score/cmd/kube-score"
)
