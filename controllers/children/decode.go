package children

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	kjson "sigs.k8s.io/json"

	"packregistry.dev/api/v1alpha1"
)

// This file decodes what the schema of a PackRegistry does not repeat from other APIs. What does not decode is the fault of who
// wrote it, and said with its path.

// decodeObjects decodes a list of objects that is at a path of the spec. A field that their type does not have is an error: it
// would be left out without a word. S is the type of the same in which the API server stores them.
func decodeObjects[T, S any](path string, objects []v1alpha1.Object) ([]*T, error) {
	var list []*T
	var failed []error
	for i, object := range objects {
		decoded := new(T)
		if err := decodeStrict(object.Raw, decoded); err != nil {
			failed = append(failed, fmt.Errorf("%s[%d]%w", path, i, err))
			continue
		}
		stored, err := canonical[S](object.Raw)
		if err == nil {
			decoded = new(T)
			err = json.Unmarshal(stored, decoded)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s[%d]: %w", path, i, err))
			continue
		}
		list = append(list, decoded)
	}
	return list, errors.Join(failed...)
}

// decodeStrict decodes JSON. The error begins with where in it the fault is.
func decodeStrict(data []byte, into any) error {
	strict, err := kjson.UnmarshalStrict(data, into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil && len(strict) == 0:
		return nil
	case err == nil:
		return fmt.Errorf(": %w", errors.Join(strict...))
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return fmt.Errorf(".%s: %s cannot be of type %s", wrongType.Field, wrongType.Value, wrongType.Type)
	}
	return fmt.Errorf(": %s", strings.TrimPrefix(err.Error(), "json: "))
}
