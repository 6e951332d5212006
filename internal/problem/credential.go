package problem

// BadCredential refuses a credential with 401 (RFC 6750, section 3.1), for a reason that the client
// may know.
func BadCredential(reason string) *Problem {
	return InvalidCredential.With(reason).Set("WWW-Authenticate", `Bearer realm="tidings", error="invalid_token"`)
}

// Expired refuses a credential that has ended.
func Expired() *Problem { return BadCredential("The credential has expired. Get a new one.") }

// Revoked refuses a credential of a subject that is revoked.
func Revoked() *Problem { return BadCredential("The credential was revoked. Get a new one.") }
