// A function on AWS's own Go client.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do    string `json:"do"`
	Value any    `json:"value"`
}

var count int

func handle(ctx context.Context, in event) (any, error) {
	switch in.Do {
	case "echo":
		return in.Value, nil
	case "count":
		count++
		return count, nil
	case "fail":
		return nil, errors.New("no")
	case "panic":
		panic("all is lost")
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(10 * time.Second)
	case "context":
		lc, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "left": time.Until(deadline).Milliseconds(),
			"name": lambdacontext.FunctionName}, nil
	}
	return nil, nil
}

func main() {
	lambda.Start(handle)
}
