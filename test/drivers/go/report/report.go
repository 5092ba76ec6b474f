// Package report prints one line per check, for program.py, and holds what both programs need.
package report

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Check is one named thing to prove.
type Check struct {
	Name string
	Run  func() error
}

// Number reads an environment variable.
func Number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// Clients and Servers are what the door has.
func Clients() int { return Number("DRIVER_CLIENTS", 200) }

// Servers is the pool's size.
func Servers() int { return Number("DRIVER_SERVERS", 10) }

func guarded(c Check) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return c.Run()
}

// Run runs all checks; a failed or stuck one does not stop the rest.
func Run(checks []Check) {
	for _, c := range checks {
		result := make(chan error, 1)
		go func() { result <- guarded(c) }()
		var err error
		select {
		case err = <-result:
		case <-time.After(50 * time.Second):
			err = fmt.Errorf("more than 50 s")
		}
		if err != nil {
			fmt.Printf("not ok %s: %s\n", c.Name, strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Printf("ok %s\n", c.Name)
		}
	}
	fmt.Println("done")
}

// Same is an error unless got and want print alike.
func Same(got, want any) error {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("got %v, wanted %v", got, want)
	}
	return nil
}

// All runs work n times at once and returns the first error.
func All(n int, work func(i int) error) error {
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- work(i) }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
