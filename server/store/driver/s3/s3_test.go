package s3

import (
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
)

func options(s *testserver.S3, bucket string) Options {
	return Options{Bucket: bucket, Region: s.Region, Endpoint: s.Endpoint, PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey,
		Root: "/registry", PartSize: minPart, MaxBackoff: 50 * time.Millisecond}
}

func open(t testing.TB, o Options) *Driver {
	t.Helper()
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriver(t *testing.T) {
	s := testserver.StartS3(t)
	drivertest.Run(t, func(t *testing.T) driver.Driver { return open(t, options(s, s.Bucket(t))) })
}
