package eventlog

// Stats has figures of a log that keeps its records in files, for metrics. Such a log has a
// method Stats, which returns them.
type Stats struct {
	// Bytes is the size of the records that the log holds. Verified says how many of these
	// bytes were read and checked since the log was opened, or were written since then. They
	// are equal when the verification that follows each start has ended.
	Bytes, Verified int64

	// Lost is how many numbers of retained records are known to have no record that can be
	// read. It grows when damage is found, and falls when retention removes the place.
	Lost uint64
}
