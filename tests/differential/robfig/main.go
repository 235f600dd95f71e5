// Answers what the parser of Kubernetes' CronJob controller makes of an expression.
//
// Reads JSON lines {"expression", "zone", "starts", "count"} and writes for each one JSON line: the
// error of the parser, or for each start the next slots after it. As the controller does, a zone is
// put in front of the expression as TZ=… after the expression alone has been accepted.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/robfig/cron/v3"
)

type question struct {
	Expression string  `json:"expression"`
	Zone       string  `json:"zone"`
	Starts     []int64 `json:"starts"`
	Count      int     `json:"count"`
}

type answer struct {
	Error string    `json:"error,omitempty"`
	Slots [][]int64 `json:"slots,omitempty"`
}

func parse(expression string) (schedule cron.Schedule, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("panic: %v", failure)
		}
	}()
	return cron.ParseStandard(expression)
}

func ask(q question) answer {
	if _, err := parse(q.Expression); err != nil {
		return answer{Error: err.Error()}
	}
	schedule, err := parse("TZ=" + q.Zone + " " + q.Expression)
	if err != nil {
		return answer{Error: err.Error()}
	}
	result := answer{Slots: [][]int64{}}
	for _, start := range q.Starts {
		slots := []int64{}
		at := time.Unix(start, 0).UTC()
		for len(slots) < q.Count {
			at = schedule.Next(at)
			if at.IsZero() {
				break
			}
			slots = append(slots, at.Unix())
		}
		result.Slots = append(result.Slots, slots)
	}
	return result
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 1<<20), 1<<20)
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	encoder := json.NewEncoder(output)
	for input.Scan() {
		var q question
		if err := json.Unmarshal(input.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := encoder.Encode(ask(q)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if err := input.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
