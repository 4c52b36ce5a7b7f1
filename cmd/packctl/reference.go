package main

import (
	"fmt"

	"packregistry.dev/client"
)

// versionOf splits a reference to a version that must be named.
func versionOf(s string) (name, reference string, err error) {
	name, reference, err = client.SplitReference(s)
	if err == nil && reference == "" {
		err = fmt.Errorf("%q: name a version as NAME:TAG or NAME@DIGEST; `packctl pack ls %s` lists the tags", s, name)
	}
	if err != nil {
		return "", "", usageError{err}
	}
	return name, reference, nil
}
