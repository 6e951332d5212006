package problem

import "net/http"

// A Type is one reason for which the API refuses a request. Its URI is stable,
// because clients branch on it. docs/http-api.md lists all types.
type Type int

// The types, ordered by status.
const (
	InvalidJSON Type = iota
	IncompleteBody
	UnexpectedBody
	InvalidQuery
	InvalidTopic
	InvalidFilter
	FilterTooCostly
	InvalidType
	InvalidData
	InvalidKey
	InvalidFrom
	InvalidLag
	InvalidFormat
	InvalidLive
	InvalidID
	InvalidLimit
	InvalidOrder
	AmbiguousCredential
	CookieTooLarge
	Unauthenticated
	InvalidCredential
	OriginNotAllowed
	Forbidden
	NotGranted
	Reserved
	NotFound
	TopicNotFound
	EventNotFound
	MethodNotAllowed
	RequestTimeout
	BodyTooLarge
	MessageTooLarge
	TooManyMessages
	UnsupportedMediaType
	UnsupportedEncoding
	HostNotAllowed
	InvalidMessage
	KeyConflict
	TooManyFields
	InternalError
	Stopping
	Unavailable
	Unconfirmed
	InsufficientStorage
	TooManyTopics
	TooManyKeys
)

var types = [...]struct {
	name   string // the last part of the URI
	status int
	title  string
}{
	InvalidJSON:          {"invalid-json", http.StatusBadRequest, "Invalid JSON"},
	IncompleteBody:       {"incomplete-body", http.StatusBadRequest, "Incomplete body"},
	UnexpectedBody:       {"unexpected-body", http.StatusBadRequest, "Unexpected body"},
	InvalidQuery:         {"invalid-query", http.StatusBadRequest, "Invalid query string"},
	InvalidTopic:         {"invalid-topic", http.StatusBadRequest, "Invalid topic"},
	InvalidFilter:        {"invalid-filter", http.StatusBadRequest, "Invalid filter"},
	FilterTooCostly:      {"filter-too-costly", http.StatusBadRequest, "Filter with too many wildcards"},
	InvalidType:          {"invalid-type", http.StatusBadRequest, "Invalid event type"},
	InvalidData:          {"invalid-data", http.StatusBadRequest, "Data is not valid UTF-8"},
	InvalidKey:           {"invalid-key", http.StatusBadRequest, "Invalid idempotency key"},
	InvalidFrom:          {"invalid-from", http.StatusBadRequest, "Invalid `from`"},
	InvalidLag:           {"invalid-lag", http.StatusBadRequest, "Invalid `lag`"},
	InvalidFormat:        {"invalid-format", http.StatusBadRequest, "Invalid `format`"},
	InvalidLive:          {"invalid-live", http.StatusBadRequest, "Invalid `live`"},
	InvalidID:            {"invalid-id", http.StatusBadRequest, "Invalid event ID"},
	InvalidLimit:         {"invalid-limit", http.StatusBadRequest, "Invalid `limit`"},
	InvalidOrder:         {"invalid-order", http.StatusBadRequest, "Invalid `order`"},
	AmbiguousCredential:  {"ambiguous-credential", http.StatusBadRequest, "More than one credential"},
	CookieTooLarge:       {"cookie-too-large", http.StatusBadRequest, "Token too large for a cookie"},
	Unauthenticated:      {"unauthenticated", http.StatusUnauthorized, "Credential needed"},
	InvalidCredential:    {"invalid-credential", http.StatusUnauthorized, "Credential not accepted"},
	OriginNotAllowed:     {"origin-not-allowed", http.StatusForbidden, "Origin not allowed"},
	Forbidden:            {"forbidden", http.StatusForbidden, "Forbidden"},
	NotGranted:           {"not-granted", http.StatusForbidden, "Not granted"},
	Reserved:             {"reserved", http.StatusForbidden, "Reserved name"},
	NotFound:             {"not-found", http.StatusNotFound, "Path not found"},
	TopicNotFound:        {"topic-not-found", http.StatusNotFound, "Topic not found"},
	EventNotFound:        {"event-not-found", http.StatusNotFound, "Event not found"},
	MethodNotAllowed:     {"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed"},
	RequestTimeout:       {"request-timeout", http.StatusRequestTimeout, "Body arrived too slowly"},
	BodyTooLarge:         {"body-too-large", http.StatusRequestEntityTooLarge, "Body too large"},
	MessageTooLarge:      {"message-too-large", http.StatusRequestEntityTooLarge, "Message too large"},
	TooManyMessages:      {"too-many-messages", http.StatusRequestEntityTooLarge, "Too many messages in the batch"},
	UnsupportedMediaType: {"unsupported-media-type", http.StatusUnsupportedMediaType, "Unsupported Content-Type"},
	UnsupportedEncoding:  {"unsupported-encoding", http.StatusUnsupportedMediaType, "Unsupported Content-Encoding"},
	HostNotAllowed:       {"host-not-allowed", http.StatusMisdirectedRequest, "Host not allowed"},
	InvalidMessage:       {"invalid-message", http.StatusUnprocessableEntity, "Invalid message"},
	KeyConflict:          {"key-conflict", http.StatusUnprocessableEntity, "Idempotency key already used for another message"},
	TooManyFields:        {"too-many-fields", http.StatusRequestHeaderFieldsTooLarge, "Too many header fields"},
	InternalError:        {"internal-error", http.StatusInternalServerError, "Internal server error"},
	Stopping:             {"stopping", http.StatusServiceUnavailable, "Server is stopping"},
	Unavailable:          {"unavailable", http.StatusServiceUnavailable, "Temporarily unavailable"},
	Unconfirmed:          {"unconfirmed", http.StatusServiceUnavailable, "Storage of the message is not confirmed"},
	InsufficientStorage:  {"insufficient-storage", http.StatusInsufficientStorage, "Insufficient storage"},
	TooManyTopics:        {"too-many-topics", http.StatusInsufficientStorage, "Too many topics"},
	TooManyKeys:          {"too-many-keys", http.StatusInsufficientStorage, "Too many idempotency keys"},
}

// Types returns all types, ordered by status.
func Types() []Type {
	all := make([]Type, len(types))
	for i := range all {
		all[i] = Type(i)
	}
	return all
}

// URI returns the type's URI.
func (t Type) URI() string { return "urn:tidings:problem:" + types[t].name }

// Status returns the HTTP status of the type's responses.
func (t Type) Status() int { return types[t].status }

// Title returns the summary that all problems of the type share.
func (t Type) Title() string { return types[t].title }
