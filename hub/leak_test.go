package hub_test

import (
	"flag"
	"testing"

	"example.com/tidings/internal/leak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "4") // those that run side by side mostly wait
	leak.Main(m)
}
