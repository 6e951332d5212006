// Package publish publishes to a Tidings hub over HTTP, each message once:
//
//	client := publish.New("http://127.0.0.1:8080", nil)
//	result, err := client.Publish(ctx, publish.Message{Topic: "orders.42", Data: "shipped"})
//
// Every message has an idempotency key. When no answer comes, or one that says
// "later", the client sends the message again with the same key. The hub says
// for how long it knows a key. The client stops after three quarters of that
// time, and says of each message whether it is stored, not stored, or possibly
// stored.
//
// Messages that wait are sent together: those of one call of
// [Client.PublishAll], and those of concurrent calls of [Client.Publish].
package publish
