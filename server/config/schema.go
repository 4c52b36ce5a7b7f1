package config

import (
	_ "embed"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the configuration file, for editors and for checks before a roll-out.
// It accepts what the server accepts but for rules that go across keys; sections of distribution without effect here
// are not in it.
func Schema() []byte { return schema }
