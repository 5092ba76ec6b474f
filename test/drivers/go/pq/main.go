// lib/pq through database/sql: prepared statements, transactions, COPY, listener, cancel by context.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lib/pq"

	"penstock/drivers/report"
)

var ctx = context.Background()

func open(limit int) (*sql.DB, error) {
	db, err := sql.Open("postgres", "sslmode=disable connect_timeout=40")
	if err == nil {
		db.SetMaxOpenConns(limit)
		db.SetMaxIdleConns(limit)
	}
	return db, err
}

// with runs work on one connection.
func with(work func(c *sql.Conn) error) error {
	db, err := open(1)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return work(c)
}

func sqlstate(err error) string {
	var e *pq.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return fmt.Sprint(err)
}

func login() error {
	db, err := sql.Open("postgres", "sslmode=disable password=wrong")
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Ping(); sqlstate(err) != "28P01" {
		return fmt.Errorf("wanted 28P01: %v", err)
	}
	return with(func(c *sql.Conn) error { return c.PingContext(ctx) })
}

func statements() error {
	db, err := open(30)
	if err != nil {
		return err
	}
	defer db.Close()
	stmt, err := db.Prepare("SELECT $1::text || $2::int")
	if err != nil {
		return err
	}
	defer stmt.Close()
	return report.All(600, func(i int) error {
		var got string
		if err := stmt.QueryRow("s", i).Scan(&got); err != nil {
			return err
		}
		return report.Same(got, fmt.Sprintf("s%d", i))
	})
}

func transactions() error {
	return with(func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "DELETE FROM drv.item"); err != nil {
			return err
		}
		tx, err := c.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err != nil {
			return err
		}
		for _, step := range []struct{ sql, code string }{
			{"INSERT INTO drv.item VALUES (1, 'a')", ""}, {"SAVEPOINT s", ""},
			{"INSERT INTO drv.item VALUES (1, 'a')", "23505"}, {"SELECT 1", "25P02"},
			{"ROLLBACK TO s", ""}, {"INSERT INTO drv.item VALUES (3, 'a')", ""}} {
			_, err := tx.Exec(step.sql)
			if (step.code == "" && err != nil) || (step.code != "" && sqlstate(err) != step.code) {
				return fmt.Errorf("%s: %v", step.sql, err)
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		tx, err = c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM drv.item"); err != nil {
			return err
		}
		if err := tx.Rollback(); err != nil {
			return err
		}
		var ids string
		row := c.QueryRowContext(ctx, "SELECT string_agg(id::text, ',' ORDER BY id) FROM drv.item")
		if err := row.Scan(&ids); err != nil {
			return err
		}
		return report.Same(ids, "1,3")
	})
}

func mistakes() error {
	return with(func(c *sql.Conn) error {
		for range 3 {
			for text, code := range map[string]string{"SELEC 1": "42601", "SELECT * FROM none_such": "42P01",
				"SELECT 1/0": "22012", "INSERT INTO drv.item VALUES (3, 'x')": "23505"} {
				if _, err := c.ExecContext(ctx, text); sqlstate(err) != code {
					return fmt.Errorf("%s: %v", text, err)
				}
				var n int
				if err := c.QueryRowContext(ctx, "SELECT $1::int", 3).Scan(&n); err != nil || n != 3 {
					return fmt.Errorf("after %s: %d %w", text, n, err)
				}
			}
		}
		return nil
	})
}

// cancelled: lib/pq sends a cancel request when a context ends, and gives the connection up afterwards.
func cancelled() error {
	db, err := open(2)
	if err != nil {
		return err
	}
	defer db.Close()
	for range 3 {
		short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
		began := time.Now()
		_, err := db.ExecContext(short, "SELECT pg_sleep(20)")
		stop()
		if sqlstate(err) != "57014" && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wanted 57014: %v", err)
		}
		if time.Since(began) > 10*time.Second {
			return errors.New("the cancel came late")
		}
		var n int
		if err := db.QueryRow("SELECT $1::int", 6).Scan(&n); err != nil || n != 6 {
			return fmt.Errorf("after the cancel: %d %w", n, err)
		}
	}
	return with(func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "SET statement_timeout = 100"); err != nil {
			return err
		}
		for range 3 {
			if _, err := c.ExecContext(ctx, "SELECT pg_sleep(20)"); sqlstate(err) != "57014" {
				return fmt.Errorf("wanted 57014: %v", err)
			}
		}
		return nil
	})
}

func copyIn() error {
	db, err := open(1)
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec("TRUNCATE drv.copied"); err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	stmt, err := tx.Prepare("COPY drv.copied (id, who) FROM STDIN")
	if err != nil {
		return err
	}
	for i := range 20000 {
		if _, err := stmt.Exec(i, fmt.Sprintf("w\t%d", i)); err != nil {
			return err
		}
	}
	if _, err := stmt.Exec(); err != nil {
		return err
	}
	if err := stmt.Close(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	var sum int
	if err := db.QueryRow("SELECT sum(id) FROM drv.copied WHERE who = E'w\\t' || id").Scan(&sum); err != nil {
		return err
	}
	return report.Same(sum, 20000*19999/2)
}

func listener() error {
	l := pq.NewListener("sslmode=disable", time.Second, time.Minute, nil)
	defer l.Close()
	if err := l.Listen("drv_pq"); err != nil {
		return err
	}
	err := with(func(c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "SELECT pg_notify('drv_pq', $1)", "it's")
		return err
	})
	if err != nil {
		return err
	}
	select {
	case n := <-l.Notify:
		return report.Same(n.Channel+" "+n.Extra, "drv_pq it's")
	case <-time.After(10 * time.Second):
		return errors.New("nothing was heard")
	}
}

func ask(c *sql.Conn, who string, pids *sync.Map) error {
	var got, mine string
	var pid int
	row := c.QueryRowContext(ctx, "SELECT $1::text, current_setting('app.who'), pg_backend_pid()", who)
	if err := row.Scan(&got, &mine, &pid); err != nil {
		return err
	}
	pids.Store(pid, true)
	return report.Same(got+" "+mine, who+" "+who)
}

func oneClient(i int, pids *sync.Map) error {
	who := fmt.Sprintf("pq-%d", i)
	return with(func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "SET app.who = '"+who+"'"); err != nil {
			return err
		}
		for turn := range 4 {
			tx, err := c.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO drv.load VALUES ($1, $2, $3)", i, who, turn); err != nil {
				return err
			}
			if turn%2 == 1 {
				err = tx.Rollback()
			} else {
				err = tx.Commit()
			}
			if err != nil {
				return err
			}
			if err := ask(c, who, pids); err != nil {
				return err
			}
		}
		var n int
		if err := c.QueryRowContext(ctx, "SELECT count(*) FROM drv.load WHERE who = $1", who).Scan(&n); err != nil {
			return err
		}
		return report.Same(n, 2)
	})
}

func manyClients() error {
	var pids sync.Map
	err := report.All(report.Clients(), func(i int) error { return oneClient(i, &pids) })
	used := 0
	pids.Range(func(_, _ any) bool { used++; return true })
	if err == nil && used > report.Servers() {
		err = fmt.Errorf("%d servers", used)
	}
	return err
}

func main() {
	report.Run([]report.Check{{Name: "login", Run: login}, {Name: "statements", Run: statements},
		{Name: "transactions", Run: transactions}, {Name: "errors", Run: mistakes},
		{Name: "cancel", Run: cancelled}, {Name: "copy", Run: copyIn},
		{Name: "notifications", Run: listener}, {Name: "many_clients", Run: manyClients}})
}
