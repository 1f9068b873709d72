//go:build tools

// Package tools pins what signs a release.
package tools

import _ "github.com/sigstore/cosign/v2/cmd/cosign"
