"""Rules of the HTTP port and of the pid file; fields as in table.py."""
from mutants.table import m

LOGIN = "integration/test_http.py: test_login_of_console_users"
OWNER = "http_server: a_port_belongs_to_one_process_and_its_heir"
PID = "integration/test_operations.py: test_pid_file"
UPGRADE = "integration/test_upgrade.py: "

MUTANTS = (
    # ---- the port belongs to one process
    m("http-port-shared", "proxy/http/http_open.c",
      "(!heir || share(s))",
      "share(s)",
      OWNER,
      "integration/test_http.py: test_a_second_process_finds_the_port_taken"),
    m("http-port-not-for-the-heir", "proxy/http/http_open.c",
      "(heir || share(s))",
      "true",
      OWNER,
      UPGRADE + "test_the_http_port_goes_over_to_the_new_process"),

    # ---- a request has a minute
    m("http-request-without-end", "proxy/http/http_server.c",
      "if (now - v->since > HTTP_SERVER_REQUEST_S * (usec_t)USEC_PER_SEC)",
      "if (false)",
      "http_server: a_request_that_never_ends_is_ended"),
    m("http-minute-of-a-connection", "proxy/http/http_server.c",
      "    request_is_over(s, c);\n",
      "",
      "http_server: a_connection_lives_as_long_as_its_requests_end"),
    m("http-nobody-looks", "proxy/http/http.c",
      "        ev_timer_start(p->main_box->loop, &h->expire);\n",
      "",
      "integration/test_http.py: test_a_request_has_a_minute"),

    # ---- who may look
    m("http-metrics-open", "proxy/http/http.c",
      '{"/metrics", ASK_METRICS, false}',
      '{"/metrics", ASK_METRICS, true}',
      LOGIN),
    m("http-state-open", "proxy/http/http.c",
      '{"/state.json", ASK_STATE, false}',
      '{"/state.json", ASK_STATE, true}',
      LOGIN),
    m("http-page-open", "proxy/http/http.c",
      '{"/", ASK_PAGE, false}',
      '{"/", ASK_PAGE, true}',
      LOGIN),
    m("http-health-closed", "proxy/http/http.c",
      '{"/healthz", ASK_HEALTH, true}',
      '{"/healthz", ASK_HEALTH, false}',
      LOGIN),
    m("http-ready-closed", "proxy/http/http.c",
      '{"/readyz", ASK_READY, true}',
      '{"/readyz", ASK_READY, false}',
      LOGIN),
    m("http-reasons-told", "proxy/http/http.c",
      "    a->tells = known;",
      "    a->tells = true;",
      LOGIN),
    m("http-foreign-name", "proxy/http/http.c",
      "if (h->loopback && !http_auth_host_is_plain(r->host))",
      "if (false)",
      "integration/test_http.py: test_a_foreign_name_for_this_machine_is_refused"),
    m("http-login-remembered", "proxy/http/http_auth.c",
      "sum && k->generation == generation && secret_equal",
      "sum && secret_equal",
      "integration/test_http.py: test_a_password_that_was_right"),

    # ---- the pid file
    m("pidfile-of-another", "proxy/options.c",
      "if (flock(fd, LOCK_EX | LOCK_NB) != 0) {",
      "if (false) {",
      PID),
    m("pidfile-left-behind", "proxy/options.c",
      "    unlink(cfg->pidfile);\n",
      "",
      PID),
    m("pidfile-not-inherited", "proxy/options.c",
      "    if (in->pidfile < 0 || fstat(",
      "    if (true || fstat(",
      UPGRADE + "test_new_process_serves_new_clients_and_the_old_one_its_own"),
    m("pidfile-too-early", "proxy/main.c",
      "if (st == ST_OK && g->in_charge)\n        st = options_write_pid",
      "if (st == ST_OK)\n        st = options_write_pid",
      UPGRADE + "test_a_pid_file_that_cannot_be_written_does_not_end_the_new_process"),
    m("pidfile-ends-the-heir", "proxy/main.c",
      '            log_line(LL_ERROR, "the pid file still names the process before this one: %s",\n'
      "                     err->text);\n",
      "            return ST_IO;\n",
      UPGRADE + "test_a_pid_file_that_cannot_be_written_does_not_end_the_new_process"),
)
