// The node program of a cluster without Docker: it is all the cluster's nodes, and runs the
// containers of pods as processes of this machine. For tests.
//
//	diolkos-node run --config FILE [--until-eof]
//	diolkos-node cleanup --state FOLDER
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"diolkos.dev/kind-tests/node/box"
	"diolkos.dev/kind-tests/node/config"
	"diolkos.dev/kind-tests/node/fleet"
	"diolkos.dev/kind-tests/node/record"
)

const usage = `usage:
  diolkos-node run --config FILE [--until-eof]
  diolkos-node cleanup --state FOLDER
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	arguments := os.Args[2:]
	var err error
	switch os.Args[1] {
	case box.FirstCommand:
		os.Exit(box.First(arguments[0]))
	case "run":
		err = run(arguments)
	case "cleanup":
		err = cleanup(arguments)
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "diolkos-node: %v\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	path := flags.String("config", "", "the file that tells what to be")
	untilEOF := flags.Bool("until-eof", false, "end when standard input does, as it does when whoever started this ends")
	flags.Parse(arguments)
	c, err := config.Read(*path)
	if err != nil {
		return err
	}
	log.SetPrefix(c.Cluster + " ")
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *untilEOF {
		go func() {
			io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	return fleet.Run(ctx, c)
}

func cleanup(arguments []string) error {
	flags := flag.NewFlagSet("cleanup", flag.ExitOnError)
	folder := flags.String("state", "", "the folder of the run that is over")
	flags.Parse(arguments)
	return record.Cleanup(*folder)
}
