package recipe

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// absent says whether an object is not there and need not be.
func absent(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}

// missing is the error for a key that an object must have and does not.
func missing(given bool, optional *bool, kind, name, key string) error {
	if given || optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("key %s is not in %s %s", key, kind, name)
}
