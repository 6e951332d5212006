// Package delivery is the hub's one engine of delivery: it hands shared frames to many
// streams, whatever carries them.
//
// Streams that get the same frames in the same order are members of a [Set]. A [Shard]
// has sets and streams, and one goroutine. Its [Feed] appends new frames to the sets. The
// shard then hands each stream everything that it is owed, at once.
//
// A stream has one of three sinks:
//
//   - [Socket]: the shard writes to a duplicated descriptor (Linux). Such a stream is 48
//     bytes, without a goroutine, a buffer or anything of net/http.
//   - [Writer]: the goroutine of an HTTP handler writes the bytes that the shard hands it.
//   - [Iterator]: a goroutine ranges over the frames that the shard hands it.
//
// The last two are carried by a [Task]. A task that works is to the shard what a full
// socket is: it gets everything that has come meanwhile when it asks for more.
//
// # Who owns what
//
//  1. Only the shard's goroutine touches its slots, sets, frames' lists and descriptors,
//     and calls the methods of its feed. Unless a comment says otherwise, the methods of
//     Shard and Set are for that goroutine: for the feed, and for functions given to
//     [Shard.Do].
//  2. The shard's goroutine waits for nothing but its own wake-up. It takes the locks of
//     its inbox and its baton, and its feed takes its own. Nobody holds one of them while
//     waiting for anything. (The hub's feed also logs: a logger that blocks stops its
//     shard.)
//  3. A task's work (its text or frames) is the shard's until the task is woken for it, and
//     the task's goroutine's from then until that asks for more with [Task.Next].
//  4. Only the task's goroutine uses its http.ResponseWriter. The one exception is the
//     abort function that the task was made with. It runs on a goroutine of its own.
//  5. At most one task of a shard has been woken and has not started: it holds the baton.
//     A task passes the baton on before it begins to work, so that a task which blocks
//     delays nobody, and few tasks are runnable at a time.
//  6. A stream is named by its slot and the slot's generation. What comes late for a
//     stream that has ended (an event of epoll, the end of a task's work, a request) has
//     the old generation, and is dropped.
//  7. A frame never changes, and the bytes handed to a writer are never used again for
//     anything else: net/http may read them after the write has returned.
package delivery
