// Package delivery is the hub's one engine of delivery. It hands shared frames to many
// streams, whatever carries them.
//
// Streams that get the same frames in the same order are members of a [Set]. A [Shard] has
// sets, streams and one goroutine. Its [Feed] appends new frames to the sets. The shard then
// hands each stream, at once, all the frames that it lacks.
//
// A stream has one of three sinks:
//
//   - [Socket]: the shard writes to a duplicated descriptor (Linux). Such a stream takes 48
//     bytes. It has no goroutine, no buffer and nothing of net/http.
//   - [Writer]: the goroutine of an HTTP handler writes the bytes that the shard hands it.
//   - [Iterator]: a goroutine ranges over the frames that the shard hands it.
//
// A [Task] carries a stream of the last two sinks. The shard treats a busy task like a full
// socket: when the task asks for more, it gets all the frames that have arrived meanwhile.
//
// A sweep goes through the live streams of a set. Lagging streams are served outside sweeps.
//
// # Ownership
//
//  1. Only the shard's goroutine touches its slots, sets, lists of frames and descriptors,
//     and calls the methods of its feed. Unless noted, methods of Shard and Set must be
//     called on that goroutine: by the feed, or by functions given to [Shard.Do].
//  2. The shard's goroutine waits only for its own wake-up. It takes the locks of its inbox
//     and its baton. Its feed takes the feed's lock, those of the pool and the room of
//     catch-ups, and that of the ledger of filters. Frames have locks for what they count.
//     Nobody holds one of them while waiting. (The hub's feed also logs: a logger that blocks stops its shard.)
//  3. The shard owns a task's work (its text or frames) until it wakes the task for it. The
//     task's goroutine then owns the work until it asks for more with [Task.Next].
//  4. Only the task's goroutine uses its http.ResponseWriter. The one exception is the
//     task's abort function, which runs on its own goroutine.
//  5. At most one task of a shard has been woken and has not started: it holds the baton.
//     It passes the baton on before it works. So few tasks are runnable at a time, and a
//     task that blocks delays nobody.
//  6. A slot and its generation identify a stream. An epoll event, a finished task or a
//     request that arrives after its stream has ended has the old generation. It is dropped.
//  7. A frame never changes. The bytes handed to a writer are never reused: net/http may
//     read them after the write has returned.
package delivery
