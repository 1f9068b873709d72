// Indexes orders. Everything it knows of the operator are environment variables.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	connection, err := nats.Connect(needed("NATS_URL"), options()...)
	check(err)
	stream, err := jetstream.New(connection)
	if domain := os.Getenv("NATS_DOMAIN"); domain != "" {
		stream, err = jetstream.NewWithDomain(connection, domain)
	}
	check(err)
	consumer, err := stream.Consumer(ctx, needed("OUTBOX_STREAM"), needed("OUTBOX_CONSUMER"))
	check(err)
	// Few at a time: all that is in hand has to be done within OUTBOX_ACK_WAIT_SECONDS.
	consuming, err := consumer.Consume(handle, jetstream.PullMaxMessages(10))
	check(err)
	select {
	case <-ctx.Done():
		consuming.Drain() // handles what is in hand
		<-consuming.Closed()
	case <-consuming.Closed():
		// Started again, this finds the one that the operator has made.
		log.Fatal("the durable consumer is gone")
	}
	connection.Close() // sends what is still buffered first
}

// needed is what the operator always sets, and a person may have forgotten.
func needed(variable string) string {
	found := os.Getenv(variable)
	if found == "" {
		log.Fatal(variable, " is not set")
	}
	return found
}

// options are the login and what it needs; files are read at each connection.
func options() []nats.Option {
	found := []nats.Option{nats.MaxReconnects(-1)} // the default gives up after two minutes
	if name := os.Getenv("NATS_CREDS_FILE"); name != "" {
		found = append(found, nats.UserCredentials(name))
	}
	if os.Getenv("NATS_USERNAME_FILE") != "" {
		found = append(found, nats.UserInfoHandler(func() (string, string) {
			return text("NATS_USERNAME_FILE"), text("NATS_PASSWORD_FILE")
		}))
	}
	if os.Getenv("NATS_TOKEN_FILE") != "" {
		found = append(found, nats.TokenHandler(func() string { return text("NATS_TOKEN_FILE") }))
	}
	if name := os.Getenv("NATS_NKEY_FILE"); name != "" {
		nkey, err := nats.NkeyOptionFromSeed(name)
		check(err)
		found = append(found, nkey)
	}
	if name := os.Getenv("NATS_CA_FILE"); name != "" {
		found = append(found, nats.RootCAs(name))
	}
	if name := os.Getenv("NATS_CERT_FILE"); name != "" {
		found = append(found, nats.ClientCert(name, os.Getenv("NATS_KEY_FILE")))
	}
	if os.Getenv("NATS_TLS_HANDSHAKE_FIRST") == "true" {
		found = append(found, nats.TLSHandshakeFirst())
	}
	return found
}

// text is what the file holds that a variable names.
func text(variable string) string {
	found, err := os.ReadFile(os.Getenv(variable))
	check(err)
	return strings.TrimSpace(string(found))
}

// handle acknowledges, asks again, or gives up.
func handle(message jetstream.Msg) {
	var order json.RawMessage
	if err := json.Unmarshal(message.Data(), &order); err != nil {
		message.TermWithReason(fmt.Sprintf("not JSON: %v", err)) // becomes a dead letter
		return
	}
	if err := index(message.Headers().Get("Ce-Id"), order); err != nil {
		log.Printf("order not indexed: %v", err)
		message.NakWithDelay(5 * time.Second) // again in 5 s, OUTBOX_MAX_DELIVER times in all
		return
	}
	message.Ack()
}

// index stores the document under the event's id: a second delivery changes nothing.
func index(id string, order json.RawMessage) error {
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"indexed": id, "order": order})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
