// Command bench measures registries as their clients meet them: it starts the registry as a process of its own, talks
// HTTP to it over loopback, and prints requests per second, latencies, processor time and peak memory.
//
//	bench --registry bin/registry                     everything, on every driver
//	bench --only 'manifest.*tag' --rounds 9           some of it, more often
//	bench --distribution PROGRAM --crane PROGRAM      the same load on other registries in turn, with the ratio
//	bench --before PROGRAM                            and on another build of this one: what a change costs
//	bench --peer http://127.0.0.1:5000 --peer-pid 42  and on one that runs already
//
// Every round runs the same load on each target, one after the other and in alternating order, and the ratio is the
// median of the rounds' ratios: what else the machine does then counts for both. The load generator takes its share of
// the machine too, so processor time per request says more of a server than requests per second.
//
//	wire.go       a connection that costs the load generator little
//	target.go     what is measured: the registry as a process
//	peers.go      the registries that it is compared with
//	bare.go       what could not be beaten: a file and a socket, a file and a hash
//	scenarios.go  the loads
//	rounds.go     running them and counting
//	report.go     the table
//	document.go   the same for docs/performance.md
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

type options struct {
	registry  string
	versitygw string
	drivers   []string
	// crane and distribution are programs of other registries; empty for none.
	crane        string
	distribution string
	// before is the program of another build of this registry.
	before   string
	peer     string
	peerPID  int
	only     *regexp.Regexp
	rounds   int
	duration time.Duration
	quick    bool
	list     bool
	dir      string
	// document is a Markdown file and section the part of it that is written anew.
	document, section string
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.registry, "registry", "bin/registry", "the registry's program")
	flags.StringVar(&o.versitygw, "versitygw", "", "the program of an S3 server, for the driver s3")
	drivers := flags.String("drivers", "filesystem,s3,inmemory", "storage drivers to measure")
	flags.StringVar(&o.crane, "crane", "", "the program crane, whose registry gets the same load in turn")
	flags.StringVar(&o.distribution, "distribution", "", "the program of the CNCF distribution registry, which gets the same load in turn")
	flags.StringVar(&o.before, "before", "", "the program of another build of this registry, which gets the same load in turn: what a change costs or saves")
	flags.StringVar(&o.document, "document", "", "a Markdown file, in which the tables between <!-- bench NAME --> and <!-- end --> are written anew")
	flags.StringVar(&o.section, "section", "", "NAME of the part of --document that the loads of this run belong to")
	flags.StringVar(&o.peer, "peer", "", "URL of another registry that gets the same load in turn")
	flags.IntVar(&o.peerPID, "peer-pid", 0, "the peer's process, to measure its processor time and memory")
	only := flags.String("only", "", "measure only the loads whose name matches this expression")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each load is run; figures are medians")
	flags.DurationVar(&o.duration, "duration", time.Second, "how long a round of small requests takes")
	flags.BoolVar(&o.quick, "quick", false, "small sizes and one short round: to see that it works, not to measure")
	flags.BoolVar(&o.list, "list", false, "print the names of the loads and end")
	flags.StringVar(&o.dir, "dir", "", "where stores are kept meanwhile (default: a temporary directory)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q: no arguments are taken, only flags", flags.Arg(0))
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("--only: %w", err)
	}
	if (o.document == "") != (o.section == "") {
		return o, errors.New("--document and --section go together: a file, and which of its tables to write")
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("--rounds %d: at least 1", o.rounds)
	}
	o.drivers = strings.Split(*drivers, ",")
	if o.quick {
		o.rounds, o.duration = 1, 50*time.Millisecond
	}
	return o, nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := bench(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "serve-bare" {
		return serveBare(ctx, args[1])
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	return run(ctx, o, os.Stdout)
}

// run measures every load that was asked for.
func run(ctx context.Context, o options, w io.Writer) (err error) {
	loads, err := selected(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, l := range loads {
			fmt.Fprintln(w, l)
		}
		return nil
	}
	dir, err := os.MkdirTemp(o.dir, "packregistry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lab := &laboratory{options: o, dir: dir}
	defer func() { err = errors.Join(err, lab.close()) }()
	report := newReport(w, o)
	for i, l := range loads {
		fmt.Fprintf(os.Stderr, "[%d/%d] %s\n", i+1, len(loads), l)
		results, err := lab.measure(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l, err)
		}
		report.add(l, results)
	}
	if o.document != "" {
		return report.write(o.document, o.section)
	}
	return nil
}

// selected lists the loads of the drivers and the names that were asked for.
func selected(o options) ([]load, error) {
	var list []load
	for _, name := range o.drivers {
		switch name {
		case "filesystem", "inmemory":
		case "s3":
			if o.versitygw == "" && !o.list {
				return nil, errors.New("the driver s3 needs --versitygw; or leave it out with --drivers filesystem,inmemory")
			}
		default:
			return nil, fmt.Errorf("--drivers: %q is none of filesystem, s3, inmemory", name)
		}
		for _, l := range loads(o.quick) {
			if l.driver = name; l.suits() && o.only.MatchString(l.String()) {
				list = append(list, l)
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no load matches --only %s; see --list", o.only)
	}
	return list, nil
}
