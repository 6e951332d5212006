package segmentlog

// roleVariable is the environment variable that makes the test binary another process.
const roleVariable = "SEGMENTLOG_TEST_ROLE"

func play(string) int { return 2 }
