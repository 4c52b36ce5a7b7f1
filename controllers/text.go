package controllers

import "strings"

// How many bytes of a text there may be, whatever it is about.
const (
	// messageBytes are those of a condition's message, of which the API server takes no more than 32 KiB.
	messageBytes = 2000
	// noteBytes are those of an event's message. The API server refuses a longer one, and with it the event; the condition has all of it.
	noteBytes = 1024
	// quotedBytes are those of a text from elsewhere that is part of a message: conditions are for reading.
	quotedBytes = 500
)

// cut is a text of at most so many bytes, in whole characters: half of one would be another when the status is read back, which
// would then be written at each reconcile.
func cut(text string, limit int) string {
	const more = "…"
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len(more)], "") + more
}

// clip is a text that comes from elsewhere, in one line, as a part of a message.
func clip(text string) string {
	return cut(strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " "), quotedBytes)
}
