// pgx v5 in all its execution modes, batches, COPY, large objects, pool, cancel and notifications.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"penstock/drivers/report"
)

var ctx = context.Background()

var modes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement,
	"cache_describe":  pgx.QueryExecModeCacheDescribe,
	"describe_exec":   pgx.QueryExecModeDescribeExec,
	"exec":            pgx.QueryExecModeExec,
	"simple_protocol": pgx.QueryExecModeSimpleProtocol,
}

func connect(mode pgx.QueryExecMode) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = mode
	return pgx.ConnectConfig(ctx, config)
}

// with runs work on a connection of its own.
func with(mode pgx.QueryExecMode, work func(c *pgx.Conn) error) error {
	c, err := connect(mode)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return work(c)
}

func sqlstate(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

func ask(c *pgx.Conn, who string, pids *sync.Map) error {
	var got, mine string
	var pid int
	row := c.QueryRow(ctx, "SELECT $1::text, current_setting('app.who'), pg_backend_pid()", who)
	if err := row.Scan(&got, &mine, &pid); err != nil {
		return err
	}
	if got != who || mine != who {
		return fmt.Errorf("%s got %s, %s", who, got, mine)
	}
	pids.Store(pid, true)
	return nil
}

func turnOf(c *pgx.Conn, i, turn int, who string, pids *sync.Map) error {
	if err := ask(c, who, pids); err != nil {
		return err
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err = tx.Exec(ctx, "INSERT INTO drv.load VALUES ($1, $2, $3)", i, who, turn); err != nil {
		return err
	}
	if err = ask(c, who, pids); err != nil {
		return err
	}
	if turn%2 == 1 {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

func manyClients(mode pgx.QueryExecMode, label string) error {
	var pids sync.Map
	err := report.All(report.Clients(), func(i int) error {
		who := fmt.Sprintf("%s-%d", label, i)
		return with(mode, func(c *pgx.Conn) error {
			if _, err := c.Exec(ctx, "SET app.who = '"+who+"'"); err != nil {
				return err
			}
			for turn := range 4 {
				if err := turnOf(c, i, turn, who, &pids); err != nil {
					return fmt.Errorf("%s: %w", who, err)
				}
			}
			var n int
			err := c.QueryRow(ctx, "SELECT count(*) FROM drv.load WHERE who = $1", who).Scan(&n)
			if err == nil && n != 2 {
				err = fmt.Errorf("%s has %d rows", who, n)
			}
			return err
		})
	})
	used := 0
	pids.Range(func(_, _ any) bool { used++; return true })
	if err == nil && used > report.Servers() {
		err = fmt.Errorf("%d servers", used)
	}
	return err
}

func values(c *pgx.Conn) error {
	var (
		n  int
		f  float64
		s  string
		b  []byte
		t  time.Time
		ok bool
		a  []int32
		z  *string
	)
	now := time.Date(2020, 2, 29, 1, 2, 3, 0, time.UTC)
	row := c.QueryRow(ctx, "SELECT $1::int, $2::float8, $3::text, $4::bytea, $5::timestamptz, $6::bool, $7::int[], $8::text",
		7, 2.5, "häß'\\", []byte{0, 255}, now, true, []int32{1, 2}, nil)
	if err := row.Scan(&n, &f, &s, &b, &t, &ok, &a, &z); err != nil {
		return err
	}
	return report.Same([]any{n, f, s, b, t.UTC(), ok, a, z == nil},
		[]any{7, 2.5, "häß'\\", []byte{0, 255}, now, true, []int32{1, 2}, true})
}

func transactions(c *pgx.Conn) error {
	if _, err := c.Exec(ctx, "DELETE FROM drv.item"); err != nil {
		return err
	}
	insert := func(tx pgx.Tx, id int) error {
		_, err := tx.Exec(ctx, "INSERT INTO drv.item VALUES ($1, 'a')", id)
		return err
	}
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if err := insert(tx, 1); err != nil {
			return err
		}
		inner := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			if err := insert(tx, 2); err != nil {
				return err
			}
			return insert(tx, 1)
		})
		if sqlstate(inner) != "23505" {
			return fmt.Errorf("wanted 23505: %v", inner)
		}
		return insert(tx, 3)
	})
	if err != nil {
		return err
	}
	gone := errors.New("gone")
	err = pgx.BeginTxFunc(ctx, c, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		if err := insert(tx, 4); err != nil {
			return err
		}
		return gone
	})
	if err != gone {
		return fmt.Errorf("wanted gone: %v", err)
	}
	var ids string
	err = c.QueryRow(ctx, "SELECT string_agg(id::text, ',' ORDER BY id) FROM drv.item").Scan(&ids)
	if err != nil {
		return err
	}
	return report.Same(ids, "1,3")
}

func mistakes(c *pgx.Conn) error {
	for range 3 {
		for sql, code := range map[string]string{"SELEC 1": "42601", "SELECT * FROM none_such": "42P01",
			"SELECT 1/0": "22012", "INSERT INTO drv.item VALUES (3, 'x')": "23505"} {
			if _, err := c.Exec(ctx, sql); sqlstate(err) != code {
				return fmt.Errorf("%s: %v", sql, err)
			}
			var n int
			if err := c.QueryRow(ctx, "SELECT $1::int", 3).Scan(&n); err != nil || n != 3 {
				return fmt.Errorf("after %s: %d, %w", sql, n, err)
			}
		}
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	_, first := tx.Exec(ctx, "SELECT 1/0")
	_, second := tx.Exec(ctx, "SELECT 1")
	if err := report.Same([]string{sqlstate(first), sqlstate(second)}, []string{"22012", "25P02"}); err != nil {
		return err
	}
	if err := tx.Commit(ctx); !errors.Is(err, pgx.ErrTxCommitRollback) {
		return fmt.Errorf("commit of a failed transaction: %v", err)
	}
	return nil
}

func ddl(c *pgx.Conn) error {
	sql := "DROP TABLE IF EXISTS drv.shape_go; CREATE TABLE drv.shape_go (a int); INSERT INTO drv.shape_go VALUES (1)"
	if _, err := c.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	read := func() (any, error) {
		rows, err := c.Query(ctx, "SELECT * FROM drv.shape_go")
		if err != nil {
			return nil, err
		}
		got, err := pgx.CollectOneRow(rows, pgx.RowToMap)
		return fmt.Sprint(got), err
	}
	if got, err := read(); err != nil || got != "map[a:1]" {
		return fmt.Errorf("%v %v", got, err)
	}
	alter := "ALTER TABLE drv.shape_go ALTER a TYPE bigint, ADD b text DEFAULT 'new'"
	if _, err := c.Exec(ctx, alter, pgx.QueryExecModeSimpleProtocol); err != nil {
		return err
	}
	got, err := read()
	if sqlstate(err) == "0A000" { // as PostgreSQL: the driver forgets its statement, the caller tries again
		got, err = read()
	}
	if err != nil || got != "map[a:1 b:new]" {
		return fmt.Errorf("%v %v", got, err)
	}
	return nil
}

func cancelAndGoOn(mode pgx.QueryExecMode) error {
	return with(mode, func(c *pgx.Conn) error {
		for range 3 {
			done := make(chan error, 1)
			go func() {
				time.Sleep(200 * time.Millisecond)
				done <- c.PgConn().CancelRequest(ctx)
			}()
			_, err := c.Exec(ctx, "SELECT pg_sleep(20)")
			if sqlstate(err) != "57014" {
				return err
			}
			if err := <-done; err != nil {
				return err
			}
			if err := values(c); err != nil {
				return err
			}
		}
		if _, err := c.Exec(ctx, "SET statement_timeout = 100"); err != nil {
			return err
		}
		if _, err := c.Exec(ctx, "SELECT pg_sleep(20)"); sqlstate(err) != "57014" {
			return err
		}
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		defer stop()
		if _, err := c.Exec(short, "SELECT pg_sleep(20)"); !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("wanted the deadline: %v", err)
		}
		return nil // pgx closes a connection whose context ended
	})
}

func batch(c *pgx.Conn) error {
	for range 2 {
		b := &pgx.Batch{}
		for i := range 100 {
			b.Queue("SELECT $1::int * 2", i)
		}
		results := c.SendBatch(ctx, b)
		for i := range 100 {
			var n int
			if err := results.QueryRow().Scan(&n); err != nil || n != 2*i {
				return fmt.Errorf("%d: %d %w", i, n, err)
			}
		}
		if err := results.Close(); err != nil {
			return err
		}
		b = &pgx.Batch{}
		b.Queue("INSERT INTO drv.load VALUES (-1, 'batch', 0)")
		b.Queue("SELECT 1 / $1::int", 0)
		b.Queue("SELECT 'never'")
		if err := c.SendBatch(ctx, b).Close(); sqlstate(err) != "22012" {
			return fmt.Errorf("wanted 22012: %v", err)
		}
		var n int
		err := c.QueryRow(ctx, "SELECT count(*) FROM drv.load WHERE who = 'batch'").Scan(&n)
		if err != nil || n != 0 {
			return fmt.Errorf("the batch was not rolled back: %d %w", n, err)
		}
	}
	return nil
}

func pipelineMode(c *pgx.Conn) error {
	p := c.PgConn().StartPipeline(ctx)
	for i := range 50 {
		p.SendQueryParams("SELECT $1::text", [][]byte{fmt.Appendf(nil, "p%d", i)}, nil, nil, nil)
		if i%10 == 9 {
			p.SendQueryParams("SELECT 1/0", nil, nil, nil, nil)
		}
		p.SendPipelineSync()
	}
	if err := p.Flush(); err != nil {
		return err
	}
	next, failed := 0, 0
	for syncs := 0; syncs < 50; {
		results, err := p.GetResults()
		if err != nil {
			if sqlstate(err) != "22012" {
				return err
			}
			failed++
			continue
		}
		switch r := results.(type) {
		case *pgconn.ResultReader:
			read := r.Read()
			if read.Err != nil {
				if sqlstate(read.Err) != "22012" {
					return read.Err
				}
				failed++
				continue
			}
			if err := report.Same(string(read.Rows[0][0]), fmt.Sprintf("p%d", next)); err != nil {
				return err
			}
			next++
		case *pgconn.PipelineSync:
			syncs++
		}
	}
	if err := p.Close(); err != nil {
		return err
	}
	return report.Same([]int{next, failed}, []int{50, 5})
}

func copies(c *pgx.Conn) error {
	if _, err := c.Exec(ctx, "TRUNCATE drv.copied"); err != nil {
		return err
	}
	n, err := c.CopyFrom(ctx, pgx.Identifier{"drv", "copied"}, []string{"id", "who", "v", "b"},
		pgx.CopyFromSlice(20000, func(i int) ([]any, error) {
			return []any{i, fmt.Sprintf("w\t%d", i), i * 3, []byte{0, byte(i)}}, nil
		}))
	if err != nil || n != 20000 {
		return fmt.Errorf("%d rows, %w", n, err)
	}
	var text strings.Builder
	if _, err = c.PgConn().CopyTo(ctx, &text, "COPY (SELECT id, v FROM drv.copied ORDER BY id) TO STDOUT"); err != nil {
		return err
	}
	var want strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&want, "%d\t%d\n", i, i*3)
	}
	if text.String() != want.String() {
		return fmt.Errorf("COPY TO differs")
	}
	_, err = c.CopyFrom(ctx, pgx.Identifier{"drv", "copied"}, []string{"id"},
		pgx.CopyFromSlice(9, func(i int) ([]any, error) {
			if i == 8 {
				return nil, errors.New("enough")
			}
			return []any{i}, nil
		}))
	if err == nil || !strings.Contains(err.Error(), "enough") {
		return fmt.Errorf("wanted an end: %v", err)
	}
	_, err = c.PgConn().CopyFrom(ctx, strings.NewReader(strings.Repeat("x\n", 100000)), "COPY drv.copied (id) FROM STDIN")
	if sqlstate(err) != "22P02" {
		return err
	}
	return values(c)
}

func largeObjects(c *pgx.Conn) error {
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		all := tx.LargeObjects()
		oid, err := all.Create(ctx, 0)
		if err != nil {
			return err
		}
		object, err := all.Open(ctx, oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		if _, err := object.Write([]byte("large object")); err != nil {
			return err
		}
		if _, err := object.Seek(6, 0); err != nil {
			return err
		}
		got := make([]byte, 6)
		if _, err := object.Read(got); err != nil {
			return err
		}
		if err := report.Same(string(got), "object"); err != nil {
			return err
		}
		return all.Unlink(ctx, oid)
	})
}

func notifications(c *pgx.Conn) error {
	if _, err := c.Exec(ctx, "LISTEN drv_go"); err != nil {
		return err
	}
	err := with(pgx.QueryExecModeExec, func(o *pgx.Conn) error {
		_, err := o.Exec(ctx, "SELECT pg_notify('drv_go', $1)", "it's")
		return err
	})
	if err != nil {
		return err
	}
	short, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	n, err := c.WaitForNotification(short)
	if err != nil {
		return err
	}
	return report.Same(n.Channel+" "+n.Payload, "drv_go it's")
}

func pool() error {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return err
	}
	config.MaxConns = 50
	p, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer p.Close()
	return report.All(500, func(i int) error {
		var n int
		err := p.QueryRow(ctx, "SELECT $1::int", i).Scan(&n)
		if err == nil && n != i {
			err = fmt.Errorf("%d got %d", i, n)
		}
		return err
	})
}

func login() error {
	config, err := pgx.ParseConfig("")
	if err != nil {
		return err
	}
	config.Password = "wrong"
	if _, err = pgx.ConnectConfig(ctx, config); sqlstate(err) != "28P01" {
		return err
	}
	return with(pgx.QueryExecModeExec, values)
}

func main() {
	checks := []report.Check{{Name: "login", Run: login}}
	add := func(name string, run func() error) {
		checks = append(checks, report.Check{Name: name, Run: run})
	}
	for _, name := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		mode := modes[name]
		add("session-"+name, func() error {
			return with(mode, func(c *pgx.Conn) error {
				for _, part := range []func(*pgx.Conn) error{values, transactions, mistakes, ddl} {
					if err := part(c); err != nil {
						return err
					}
				}
				return nil
			})
		})
		add("many_clients-"+name, func() error { return manyClients(mode, name) })
	}
	for name, mode := range map[string]pgx.QueryExecMode{"cached": modes["cache_statement"], "simple": modes["simple_protocol"]} {
		add("cancel-"+name, func() error { return cancelAndGoOn(mode) })
	}
	for name, work := range map[string]func(*pgx.Conn) error{"batch": batch, "pipeline": pipelineMode,
		"copy": copies, "large_objects": largeObjects, "notifications": notifications} {
		add(name, func() error { return with(modes["cache_statement"], work) })
	}
	add("pool", pool)
	report.Run(checks)
}
