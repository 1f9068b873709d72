//go:build tools

// Package tools pins krew, which a release of the plugin is installed by.
package tools

import _ "sigs.k8s.io/krew/cmd/krew"
