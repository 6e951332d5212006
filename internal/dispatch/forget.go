package dispatch

import "example.com/tidings/internal/delivery"

// A set may hold entries that the window no longer holds, for streams that are just about to
// get them: slack more of them, or slackBytes without their encoded forms.
const (
	slack      = 256
	slackBytes = 1 << 20
)

// forget drops entries of a set that the window no longer holds, if they are too many. The
// streams that lack them catch up from the log.
func (f *feed) forget(set *delivery.Set) {
	if v := f.dispatcher.window.Load(); v.Era() == f.era && v.First() > 0 && set.Exceeds(v.First()-1, slack, slackBytes) {
		f.shard.Forget(set, v.First()-1)
	}
}

// forgetOld does that for each set, after the window has dropped entries.
func (f *feed) forgetOld() { f.shard.Sets(f.forget) }
