package inmemory_test

import (
	"testing"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
	"packregistry.dev/server/store/driver/inmemory"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, func(*testing.T) driver.Driver { return inmemory.New() })
}
