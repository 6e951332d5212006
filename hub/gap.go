package hub

// The reasons of a gap, as in sse.GapError.Reason and in the data of the event
// tidings.gap.
const (
	// GapLag: the subscriber was so slow that what it was owed is no longer
	// retained, or it had asked to skip that.
	GapLag = "lag"

	// GapExpired: retention has removed what came after the client's id.
	GapExpired = "expired"

	// GapLost: the log has lost messages, by a loss of power or a damaged file.
	GapLost = "lost"

	// GapUnknown: the client's id is not of this log, or of a time that a restored
	// backup does not know of.
	GapUnknown = "unknown"

	// GapFuture: the client's id is after the newest message.
	GapFuture = "future"

	// GapMalformed: the client's id is not one of a hub.
	GapMalformed = "malformed"

	// GapInvalid: the log holds a message that cannot be sent as an event, because
	// its type has a line end. Only a publisher that writes to the log itself, past
	// the hub, can have stored it.
	GapInvalid = "invalid"
)
