package telemetry

import (
	"io"
	"log/slog"
	"maps"
	"slices"

	"packregistry.dev/server/config"
)

var logLevels = map[string]slog.Level{
	"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
}

// NewLogger returns the logger that the configuration asks for.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevels[c.Level]}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.Formatter == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	log := slog.New(handler)
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		log = log.With(name, c.Fields[name])
	}
	return log
}

// Clip bounds what a client can write into the log.
func Clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
