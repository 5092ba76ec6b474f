// pgjdbc and HikariCP: statements named after prepareThreshold uses, batches, cursors, COPY, large
// objects over the fastpath, query timeouts, cancel, notifications.  Prints what program.py reads.

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Drivers {
    interface Work {
        void run() throws Exception;
    }

    interface WithConnection {
        void run(Connection c) throws Exception;
    }

    static final int CLIENTS = Integer.parseInt(System.getenv().getOrDefault("DRIVER_CLIENTS", "200"));
    static final int SERVERS = Integer.parseInt(System.getenv().getOrDefault("DRIVER_SERVERS", "10"));
    static final String URL = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT")
        + "/" + System.getenv("PGDATABASE");

    static Connection open(String... more) throws SQLException {
        Properties p = new Properties();
        p.setProperty("user", System.getenv("PGUSER"));
        p.setProperty("password", System.getenv("PGPASSWORD"));
        p.setProperty("sslmode", "disable");
        for (int i = 0; i < more.length; i += 2) {
            p.setProperty(more[i], more[i + 1]);
        }
        return DriverManager.getConnection(URL, p);
    }

    static void with(WithConnection work, String... more) throws Exception {
        try (Connection c = open(more)) {
            work.run(c);
        }
    }

    static void same(Object got, Object want) {
        if (!want.equals(got)) {
            throw new AssertionError("got " + got + ", wanted " + want);
        }
    }

    static Object one(Connection c, String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) {
                s.setObject(i + 1, values[i]);
            }
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getObject(1);
            }
        }
    }

    static void run(Connection c, String sql) throws SQLException {
        try (Statement s = c.createStatement()) {
            s.execute(sql);
        }
    }

    static void fails(String state, Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException e) {
            same(e.getSQLState(), state);
            return;
        }
        throw new AssertionError("no error came, wanted " + state);
    }

    static void all(int n, int threads, java.util.function.IntFunction<Callable<Void>> work) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        try {
            List<Future<Void>> futures = new ArrayList<>();
            for (int i = 0; i < n; i++) {
                futures.add(pool.submit(work.apply(i)));
            }
            for (Future<Void> f : futures) {
                f.get(50, TimeUnit.SECONDS);
            }
        } finally {
            pool.shutdownNow();
        }
    }

    // ---- the checks -----------------------------------------------------------------------------------

    static void login() throws Exception {
        with(c -> same(one(c, "SELECT current_user::text"), System.getenv("PGUSER")));
        fails("28P01", () -> open("password", "wrong"));
    }

    static void thresholds() throws Exception {
        for (String threshold : new String[] {"0", "1", "5", "-1"}) {
            List<Connection> conns = new ArrayList<>();
            try {
                for (int i = 0; i < 12; i++) {
                    conns.add(open("prepareThreshold", threshold, "preparedStatementCacheQueries", "4"));
                }
                for (int turn = 0; turn < 8; turn++) {
                    for (int i = 0; i < conns.size(); i++) {
                        Connection c = conns.get(i);
                        same(one(c, "SELECT ?::text || ?::int", "c" + i + "-", turn), "c" + i + "-" + turn);
                        same(one(c, "SELECT ?::int + " + turn, i), i + turn);
                    }
                }
            } finally {
                for (Connection c : conns) {
                    c.close();
                }
            }
        }
    }

    static void queryModes() throws Exception {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            with(c -> {
                for (int i = 0; i < 8; i++) {
                    same(one(c, "SELECT ?::text || ?::int", "m", i), "m" + i);
                    fails("22012", () -> one(c, "SELECT 1 / ?::int", 0));
                }
            }, "preferQueryMode", mode);
        }
    }

    static void values() throws Exception {
        with(c -> {
            for (int i = 0; i < 8; i++) {       // text at first, binary after the threshold
                try (PreparedStatement s = c.prepareStatement("SELECT ?::int, ?::float8, ?::text, ?::bytea, "
                        + "?::numeric, ?::timestamptz, ?::int[], ?::text")) {
                    s.setInt(1, i);
                    s.setDouble(2, 2.5);
                    s.setString(3, "häß'\\");
                    s.setBytes(4, new byte[] {0, -1});
                    s.setBigDecimal(5, new java.math.BigDecimal("12.340"));
                    s.setObject(6, java.time.OffsetDateTime.parse("2020-02-29T01:02:03Z"));
                    s.setArray(7, c.createArrayOf("int4", new Integer[] {1, null, 3}));
                    s.setString(8, null);
                    ResultSet r = s.executeQuery();
                    r.next();
                    same(r.getInt(1), i);
                    same(r.getDouble(2), 2.5);
                    same(r.getString(3), "häß'\\");
                    same(Arrays.toString(r.getBytes(4)), "[0, -1]");
                    same(r.getBigDecimal(5).toString(), "12.340");
                    same(r.getObject(6, java.time.OffsetDateTime.class).toInstant().toString(),
                         "2020-02-29T01:02:03Z");
                    same(Arrays.toString((Object[]) r.getArray(7).getArray()), "[1, null, 3]");
                    same(r.getString(8) == null, true);
                }
            }
        });
    }

    static void transactions() throws Exception {
        with(c -> {
            run(c, "DELETE FROM drv.item");
            c.setAutoCommit(false);
            run(c, "INSERT INTO drv.item VALUES (1, 'a')");
            Savepoint s = c.setSavepoint();
            fails("23505", () -> run(c, "INSERT INTO drv.item VALUES (1, 'a')"));
            fails("25P02", () -> run(c, "SELECT 1"));
            c.rollback(s);
            run(c, "INSERT INTO drv.item VALUES (3, 'a')");
            c.commit();
            run(c, "DELETE FROM drv.item");
            c.rollback();
            c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            c.setReadOnly(true);
            same(one(c, "SELECT string_agg(id::text, ',' ORDER BY id) FROM drv.item"), "1,3");
            same(one(c, "SHOW transaction_isolation"), "serializable");
            fails("25006", () -> run(c, "DELETE FROM drv.item"));
            c.rollback();
        });
        with(c -> {     // autosave repeats statements behind savepoints of its own
            c.setAutoCommit(false);
            run(c, "INSERT INTO drv.item VALUES (7, 'a')");
            fails("23505", () -> run(c, "INSERT INTO drv.item VALUES (7, 'a')"));
            same(one(c, "SELECT count(*)::int FROM drv.item WHERE id = 7"), 1);
            c.rollback();
        }, "autosave", "always");
    }

    static void errors() throws Exception {
        with(c -> {
            for (int i = 0; i < 3; i++) {
                fails("42601", () -> run(c, "SELEC 1"));
                fails("42P01", () -> one(c, "SELECT * FROM none_such WHERE a = ?", 1));
                same(one(c, "SELECT ?::int", 5), 5);
            }
            try {
                run(c, "INSERT INTO drv.item VALUES (3, 'x')");
                throw new AssertionError("no error");
            } catch (PSQLException e) {
                ServerErrorMessage m = e.getServerErrorMessage();
                same(m.getConstraint() + " " + m.getTable() + " " + m.getSchema(), "item_pkey item drv");
            }
        });
    }

    static void ddl() throws Exception {
        with(c -> {
            run(c, "DROP TABLE IF EXISTS drv.shape_jdbc; CREATE TABLE drv.shape_jdbc (a int);"
                + "INSERT INTO drv.shape_jdbc VALUES (1)");
            for (int i = 0; i < 4; i++) {
                same(one(c, "SELECT * FROM drv.shape_jdbc"), 1);
            }
            run(c, "ALTER TABLE drv.shape_jdbc ALTER a TYPE bigint");
            for (int i = 0; i < 4; i++) {
                same(one(c, "SELECT * FROM drv.shape_jdbc"), 1L);
            }
            run(c, "ALTER TABLE drv.shape_jdbc ALTER a TYPE text");
            same(one(c, "SELECT * FROM drv.shape_jdbc"), "1");
        }, "prepareThreshold", "1", "binaryTransfer", "true");
    }

    static void batches() throws Exception {
        for (String rewrite : new String[] {"false", "true"}) {
            with(c -> {
                run(c, "DELETE FROM drv.load WHERE who LIKE 'batch%'");
                try (PreparedStatement s = c.prepareStatement("INSERT INTO drv.load VALUES (?, ?, 0)")) {
                    for (int i = 0; i < 3000; i++) {
                        s.setInt(1, i);
                        s.setString(2, "batch" + i);
                        s.addBatch();
                    }
                    same(s.executeBatch().length, 3000);
                }
                same(one(c, "SELECT sum(id)::int FROM drv.load WHERE who = 'batch' || id"), 2999 * 3000 / 2);
                try (PreparedStatement s = c.prepareStatement("INSERT INTO drv.item VALUES (?, 'x')")) {
                    for (int id : new int[] {800, 801, 800, 802}) {
                        s.setInt(1, id);
                        s.addBatch();
                    }
                    s.executeBatch();
                    throw new AssertionError("no error");
                } catch (BatchUpdateException e) {
                    same(e.getSQLState(), "23505");
                }
                run(c, "DELETE FROM drv.item WHERE id >= 800");
                try (PreparedStatement s = c.prepareStatement("INSERT INTO drv.item VALUES (?, 'x') RETURNING id",
                        Statement.RETURN_GENERATED_KEYS)) {
                    for (int i = 0; i < 300; i++) {
                        s.setInt(1, 1000 + i);
                        s.addBatch();
                    }
                    s.executeBatch();
                    ResultSet keys = s.getGeneratedKeys();
                    int next = 1000;
                    while (keys.next()) {
                        same(keys.getInt(1), next++);
                    }
                    same(next, 1300);
                }
                run(c, "DELETE FROM drv.item WHERE id >= 1000");
            }, "reWriteBatchedInserts", rewrite);
        }
    }

    static void cursors() throws Exception {
        with(c -> {
            c.setAutoCommit(false);
            for (int turn = 0; turn < 7; turn++) {
                try (PreparedStatement s = c.prepareStatement("SELECT generate_series(1, ?)");
                     PreparedStatement t = c.prepareStatement("SELECT generate_series(1, ?) * 2")) {
                    s.setFetchSize(50);
                    t.setFetchSize(30);
                    s.setInt(1, 1000);
                    t.setInt(1, 1000);
                    ResultSet a = s.executeQuery();
                    ResultSet b = t.executeQuery();
                    int n = 0;
                    while (a.next() && b.next()) {
                        n++;
                        same(a.getInt(1), n);
                        same(b.getInt(1), 2 * n);
                    }
                    same(n, 1000);
                    s.executeQuery().next();        // and one that is not read to its end
                }
                if (turn % 2 == 0) {
                    c.commit();
                }
            }
        });
    }

    static void copy() throws Exception {
        with(c -> {
            run(c, "TRUNCATE drv.copied");
            CopyManager m = c.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder lines = new StringBuilder();
            for (int i = 0; i < 20000; i++) {
                lines.append(i).append("\tw").append(i).append("\t1.5\t\\\\x00ff\n");
            }
            same(m.copyIn("COPY drv.copied FROM STDIN", new StringReader(lines.toString())), 20000L);
            StringWriter out = new StringWriter();
            m.copyOut("COPY (SELECT * FROM drv.copied ORDER BY id) TO STDOUT", out);
            same(out.toString().equals(lines.toString()), true);
            fails("22P02", () -> m.copyIn("COPY drv.copied FROM STDIN", new StringReader("x\ty\n".repeat(50000))));
            org.postgresql.copy.CopyIn broken = m.copyIn("COPY drv.copied FROM STDIN");
            broken.writeToCopy("1\ta\t1\t\\N\n".getBytes(), 0, 9);
            broken.cancelCopy();
            same(one(c, "SELECT count(*)::int FROM drv.copied"), 20000);
        });
    }

    static void largeObjects() throws Exception {
        with(c -> {
            c.setAutoCommit(false);
            for (int turn = 0; turn < 2; turn++) {
                LargeObjectManager m = c.unwrap(PGConnection.class).getLargeObjectAPI();
                long oid = m.createLO(LargeObjectManager.READWRITE);
                byte[] data = new byte[300000];
                for (int i = 0; i < data.length; i++) {
                    data[i] = (byte) (i * 7);
                }
                LargeObject o = m.open(oid, LargeObjectManager.READWRITE);
                o.write(data);
                o.seek(100);
                same(Arrays.equals(o.read(1000), Arrays.copyOfRange(data, 100, 1100)), true);
                o.close();
                c.commit();
                o = m.open(oid, LargeObjectManager.READ);
                same(Arrays.equals(o.read(300000), data), true);
                o.close();
                m.delete(oid);
                c.commit();
                fails("42704", () -> m.open(oid, LargeObjectManager.READ));
                c.rollback();
            }
        });
    }

    static void timeouts() throws Exception {
        with(c -> {
            for (int i = 0; i < 3; i++) {
                try (Statement s = c.createStatement()) {
                    s.setQueryTimeout(1);
                    fails("57014", () -> s.execute("SELECT pg_sleep(20)"));
                    s.setQueryTimeout(0);
                    Thread t = new Thread(() -> {
                        try {
                            Thread.sleep(200);
                            s.cancel();
                        } catch (Exception e) {
                            System.out.println(e);
                        }
                    });
                    t.start();
                    fails("57014", () -> s.execute("SELECT pg_sleep(20)"));
                    t.join();
                    same(one(c, "SELECT ?::int", 9), 9);
                }
            }
            run(c, "SET statement_timeout = 100");
            fails("57014", () -> run(c, "SELECT pg_sleep(20)"));
            same(one(c, "SHOW statement_timeout"), "100ms");
        });
    }

    static void notifications() throws Exception {
        with(c -> {
            run(c, "LISTEN drv_java");
            with(o -> one(o, "SELECT pg_notify('drv_java', ?)::text", "it's"));
            PGNotification[] n = c.unwrap(PGConnection.class).getNotifications(10000);
            same(n.length, 1);
            same(n[0].getName() + " " + n[0].getParameter(), "drv_java it's");
            run(c, "UNLISTEN *");
        });
    }

    static void hikari() throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(URL + "?sslmode=disable");
        config.setUsername(System.getenv("PGUSER"));
        config.setPassword(System.getenv("PGPASSWORD"));
        config.setMaximumPoolSize(50);
        config.setConnectionTimeout(30000);
        config.setSchema("drv");
        config.setTransactionIsolation("TRANSACTION_REPEATABLE_READ");
        config.setConnectionInitSql("SET app.of_pool = 'hikari'");
        try (HikariDataSource pool = new HikariDataSource(config)) {
            all(1000, 50, i -> () -> {
                try (Connection c = pool.getConnection()) {
                    c.setAutoCommit(i % 2 == 0);
                    same(one(c, "SELECT ?::int", i), i);
                    same(one(c, "SHOW search_path") + " " + one(c, "SHOW transaction_isolation") + " "
                         + one(c, "SHOW app.of_pool"), "drv repeatable read hikari");
                    if (i % 2 == 1) {
                        c.rollback();
                    }
                }
                return null;
            });
        }
    }

    static void ask(Connection c, String who, Set<Integer> pids) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(
                "SELECT ?::text, current_setting('app.who'), pg_backend_pid()")) {
            s.setString(1, who);
            ResultSet r = s.executeQuery();
            r.next();
            same(r.getString(1) + " " + r.getString(2), who + " " + who);
            pids.add(r.getInt(3));
        }
    }

    static void manyClients() throws Exception {
        Set<Integer> pids = ConcurrentHashMap.newKeySet();
        all(CLIENTS, CLIENTS, i -> () -> {
            String who = "java-" + i;
            try (Connection c = open("prepareThreshold", String.valueOf(i % 3), "loginTimeout", "40")) {
                run(c, "SET app.who = '" + who + "'");
                for (int turn = 0; turn < 4; turn++) {
                    ask(c, who, pids);
                    c.setAutoCommit(false);
                    run(c, "INSERT INTO drv.load VALUES (" + i + ", '" + who + "', " + turn + ")");
                    ask(c, who, pids);
                    if (turn % 2 == 1) {
                        c.rollback();
                    } else {
                        c.commit();
                    }
                    c.setAutoCommit(true);
                }
                same(one(c, "SELECT count(*)::int FROM drv.load WHERE who = ?", who), 2);
            }
            return null;
        });
        if (pids.size() > SERVERS) {
            throw new AssertionError(pids.size() + " servers");
        }
    }

    public static void main(String[] args) {
        Map<String, Work> checks = new LinkedHashMap<>();
        checks.put("login", Drivers::login);
        checks.put("thresholds", Drivers::thresholds);
        checks.put("query_modes", Drivers::queryModes);
        checks.put("values", Drivers::values);
        checks.put("transactions", Drivers::transactions);
        checks.put("errors", Drivers::errors);
        checks.put("ddl", Drivers::ddl);
        checks.put("batches", Drivers::batches);
        checks.put("cursors", Drivers::cursors);
        checks.put("copy", Drivers::copy);
        checks.put("large_objects", Drivers::largeObjects);
        checks.put("timeouts", Drivers::timeouts);
        checks.put("notifications", Drivers::notifications);
        checks.put("hikari", Drivers::hikari);
        checks.put("many_clients", Drivers::manyClients);
        ExecutorService pool = Executors.newCachedThreadPool();
        for (Map.Entry<String, Work> check : checks.entrySet()) {
            Future<Void> f = pool.submit(() -> {
                check.getValue().run();
                return null;
            });
            try {
                f.get(55, TimeUnit.SECONDS);
                System.out.println("ok " + check.getKey());
            } catch (Exception e) {
                f.cancel(true);
                Throwable t = e.getCause() != null ? e.getCause() : e;
                System.out.println("not ok " + check.getKey() + ": " + String.valueOf(t).replaceAll("\\s+", " "));
                t.printStackTrace(System.out);
            }
        }
        System.out.println("done");
        System.exit(0);
    }
}
