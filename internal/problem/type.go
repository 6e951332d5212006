package problem

import "net/http"

// A Type is one of the ways in which the API refuses a request. Its URI is
// stable: clients branch on it. All are listed in docs/http-api.md.
type Type int

// The types, in the order of their statuses.
const (
	InvalidJSON Type = iota
	IncompleteBody
	UnexpectedBody
	InvalidQuery
	InvalidTopic
	InvalidFilter
	InvalidType
	InvalidData
	InvalidKey
	InvalidFrom
	InvalidLag
	InvalidFormat
	InvalidID
	InvalidLimit
	OriginNotAllowed
	Forbidden
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
	InternalError
	Stopping
	Unavailable
	Unconfirmed
	InsufficientStorage
)

var types = [...]struct {
	name   string // of the URI
	status int
	title  string
}{
	InvalidJSON:          {"invalid-json", http.StatusBadRequest, "The body is not JSON"},
	IncompleteBody:       {"incomplete-body", http.StatusBadRequest, "The body did not arrive whole"},
	UnexpectedBody:       {"unexpected-body", http.StatusBadRequest, "The request has a body"},
	InvalidQuery:         {"invalid-query", http.StatusBadRequest, "The query of the URL is malformed"},
	InvalidTopic:         {"invalid-topic", http.StatusBadRequest, "The topic is not one"},
	InvalidFilter:        {"invalid-filter", http.StatusBadRequest, "The filter is not one"},
	InvalidType:          {"invalid-type", http.StatusBadRequest, "The event type cannot be used"},
	InvalidData:          {"invalid-data", http.StatusBadRequest, "The data is not UTF-8"},
	InvalidKey:           {"invalid-key", http.StatusBadRequest, "The idempotency key cannot be used"},
	InvalidFrom:          {"invalid-from", http.StatusBadRequest, "It is not clear where to begin"},
	InvalidLag:           {"invalid-lag", http.StatusBadRequest, "The lag policy is not known"},
	InvalidFormat:        {"invalid-format", http.StatusBadRequest, "The format is not known"},
	InvalidID:            {"invalid-id", http.StatusBadRequest, "The id is not an event's"},
	InvalidLimit:         {"invalid-limit", http.StatusBadRequest, "The limit is out of range"},
	OriginNotAllowed:     {"origin-not-allowed", http.StatusForbidden, "The page's origin is not allowed"},
	Forbidden:            {"forbidden", http.StatusForbidden, "This is not allowed"},
	Reserved:             {"reserved", http.StatusForbidden, "The name is the hub's own"},
	NotFound:             {"not-found", http.StatusNotFound, "There is nothing at this path"},
	TopicNotFound:        {"topic-not-found", http.StatusNotFound, "The topic has no events"},
	EventNotFound:        {"event-not-found", http.StatusNotFound, "The event is not there"},
	MethodNotAllowed:     {"method-not-allowed", http.StatusMethodNotAllowed, "The method is not allowed here"},
	RequestTimeout:       {"request-timeout", http.StatusRequestTimeout, "The body came too slowly"},
	BodyTooLarge:         {"body-too-large", http.StatusRequestEntityTooLarge, "The body is too large"},
	MessageTooLarge:      {"message-too-large", http.StatusRequestEntityTooLarge, "The message is too large"},
	TooManyMessages:      {"too-many-messages", http.StatusRequestEntityTooLarge, "The batch has too many messages"},
	UnsupportedMediaType: {"unsupported-media-type", http.StatusUnsupportedMediaType, "The body is not labelled as what is wanted here"},
	UnsupportedEncoding:  {"unsupported-encoding", http.StatusUnsupportedMediaType, "The body has a Content-Encoding"},
	HostNotAllowed:       {"host-not-allowed", http.StatusMisdirectedRequest, "The Host header is not allowed"},
	InvalidMessage:       {"invalid-message", http.StatusUnprocessableEntity, "The JSON is not a message"},
	KeyConflict:          {"key-conflict", http.StatusUnprocessableEntity, "The idempotency key was used for another message"},
	InternalError:        {"internal-error", http.StatusInternalServerError, "The server failed"},
	Stopping:             {"stopping", http.StatusServiceUnavailable, "The server is stopping"},
	Unavailable:          {"unavailable", http.StatusServiceUnavailable, "No stream can be taken just now"},
	Unconfirmed:          {"unconfirmed", http.StatusServiceUnavailable, "It is not known whether the message is stored"},
	InsufficientStorage:  {"insufficient-storage", http.StatusInsufficientStorage, "There is no room to store the message"},
}

// Types returns all types, in the order of their statuses.
func Types() []Type {
	all := make([]Type, len(types))
	for i := range all {
		all[i] = Type(i)
	}
	return all
}

// URI returns the type's URI.
func (t Type) URI() string { return "urn:tidings:problem:" + types[t].name }

// Status returns the status of the responses.
func (t Type) Status() int { return types[t].status }

// Title returns what all problems of the type have in common.
func (t Type) Title() string { return types[t].title }
