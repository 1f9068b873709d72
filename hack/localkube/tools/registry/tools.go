//go:build tools

// Package tools pins the registry that a release is proved against.
package tools

import _ "github.com/distribution/distribution/v3/cmd/registry"
