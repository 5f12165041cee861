//go:build modules

// Package crds is never built: it keeps these modules in go.mod and go.sum, so that their files can
// be copied from Go's module cache.
package crds

import (
	_ "sigs.k8s.io/gateway-api/apis/v1"
	_ "sigs.k8s.io/mcs-api/config/crd"
)
