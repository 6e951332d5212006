package delivery_test

import (
	"testing"

	"example.com/tidings/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }
