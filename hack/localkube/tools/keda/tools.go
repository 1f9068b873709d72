//go:build tools

// Package tools pins KEDA, which drives the number of pods from outside in `make check-keda`.
package tools

import (
	_ "github.com/kedacore/keda/v2/cmd/adapter"
	_ "github.com/kedacore/keda/v2/cmd/operator"
)
