// Package httpapi is a hub's HTTP API as one http.Handler, for a program that
// serves it beside routes of its own:
//
//	mux.Handle("/hub/", http.StripPrefix("/hub", httpapi.New(h, &httpapi.Options{Authorize: authorize})))
//
// These are its routes; docs/http-api.md describes each, with every status and
// header.
//
//	POST /topics/{topic}              publish the body
//	POST /batch                       publish many messages, one a line
//	GET  /events                      subscribe
//	GET  /topics                      list topics
//	GET  /topics/{topic}              one topic
//	GET  /topics/{topic}/events       its history
//	GET  /topics/{topic}/events/{id}  one event
//
//	DELETE /subjects/{subject}/streams     end the streams of a subject
//	PUT    /subjects/{subject}/revocation  refuse its older credentials, too
//
// Without [Options].Authorize everyone may do everything. The handler knows no
// cross-origin rules either: where browsers are near, put them around it, as
// http.CrossOriginProtection does.
package httpapi
