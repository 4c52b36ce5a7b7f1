package client_test

import (
	"errors"
	"testing"

	"packregistry.dev/client"
	"packregistry.dev/internal/testregistry"
)

// A registry that lets others in too gives tokens at /v2, and packs are pushed at /v1.
func TestARegistryWithAnonymousPull(t *testing.T) {
	s := newRegistryWith(t, testregistry.Options{Access: "{anonymouspull: true}"})
	c := connect(t, s)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	one, _ := openPack(t, nil)
	if _, err := c.Push(t.Context(), one, client.Push{}); err != nil {
		t.Fatal(err)
	}
	two, _ := openPack(t, map[string]string{"README.md": "changed"})
	if _, err := c.Push(t.Context(), two, client.Push{}); !errors.Is(err, client.ErrExists) {
		t.Errorf("a version was replaced: %v", err)
	}
	if _, err := c.Push(t.Context(), two, client.Push{Force: true, Message: "why"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tag(t.Context(), "demo", "1.0.0", "stable", false); err != nil {
		t.Fatal(err)
	}

	nobody := s
	nobody.Username, nobody.Password = "", ""
	n := connect(t, nobody)
	if err := n.Ping(t.Context()); err != nil {
		t.Errorf("nobody: %v", err)
	}
	if _, err := n.Pull(t.Context(), "demo", "1.0.0", t.TempDir()+"/pulled"); err != nil {
		t.Errorf("nobody pulls: %v", err)
	}
	if err := n.Untag(t.Context(), "demo", "stable"); err == nil {
		t.Error("nobody deleted a tag")
	}
	if err := c.Untag(t.Context(), "demo", "stable"); err != nil {
		t.Error(err)
	}
	if _, err := c.Delete(t.Context(), "demo", "1.0.0"); err != nil {
		t.Error(err)
	}
	wrong := s
	wrong.Password = "wrong"
	if err := connect(t, wrong).Ping(t.Context()); err == nil {
		t.Error("a wrong password logs in")
	}
}
