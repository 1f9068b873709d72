//go:build tools

// Package tools pins the nats command (`nats bench`, looking into streams by hand).
package tools

import _ "github.com/nats-io/natscli/nats"
