package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

type Order struct {
	ID    string `json:"id"`
	Total string `json:"total"`
}

// What the page on other languages shows; the page on containers has the rest of the program.
func write(ctx context.Context, pool *pgxpool.Pool, order Order) error {
	// FENCE
	return err
}

func init() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err == nil {
		err = write(ctx, pool, Order{"o-go", "12.30"})
	}
	if err != nil {
		log.Fatal(err)
	}
	pool.Close()
}
