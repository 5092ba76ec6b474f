"""Django over psycopg 3: ORM, migrations' DDL, server-side cursors and bindings, persistent connections."""
import threading

import django
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.utils import OperationalError, ProgrammingError

pytestmark = pytest.mark.full

if not settings.configured:
    # This module is its own application, so that relations work in both directions.
    settings.configure(INSTALLED_APPS=[__name__], DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}},
                       DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True, TIME_ZONE="Europe/Rome")
    django.setup()


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
    born = models.DateTimeField(null=True)
    data = models.JSONField(default=dict)

    class Meta:
        app_label = __name__
        db_table = "dj_author"


class Book(models.Model):
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    title = models.TextField()

    class Meta:
        app_label = __name__
        db_table = "dj_book"


def database(door, **options):
    return {**connections["default"].settings_dict, "NAME": door.db, "USER": door.user,
            "PASSWORD": door.secret, "HOST": door.host, "PORT": door.port, "CONN_MAX_AGE": None,
            "CONN_HEALTH_CHECKS": True,
            "OPTIONS": {"sslmode": "disable", "connect_timeout": 40, **options}}


@pytest.fixture(params=["client", "server"])
def db(door, request):
    """Bindings on the client's and on the server's side; with the latter statements get prepared."""
    options = {"server_side_binding": True, "prepare_threshold": 0} if request.param == "server" else {}
    connections.settings["default"] = database(door, **options)
    del connections["default"]
    with connection.schema_editor() as editor:
        editor.execute("DROP TABLE IF EXISTS dj_book, dj_author")
        editor.create_model(Author)
        editor.create_model(Book)
    yield connection
    connection.close()


def test_orm(db):
    Author.objects.bulk_create([Author(name=f"a{i}", data={"i": i}) for i in range(300)], batch_size=50)
    author = Author.objects.get(name="a7")
    Book.objects.bulk_create([Book(author=author, title=f"t{i}") for i in range(30)])
    assert Author.objects.filter(data__i__gte=290).count() == 10
    assert list(Author.objects.filter(books__title="t3").values_list("name", flat=True)) == ["a7"]
    assert [b.title for b in Author.objects.prefetch_related("books").get(pk=author.pk).books.order_by("id")] \
        == [f"t{i}" for i in range(30)]
    assert Author.objects.get_or_create(name="a7")[1] is False
    author.delete()
    assert Book.objects.count() == 0


def test_atomic_blocks(db):
    with transaction.atomic():
        Author.objects.create(name="one")
        with pytest.raises(IntegrityError):
            with transaction.atomic():
                Author.objects.create(name="two")
                Author.objects.create(name="one")
        Author.objects.create(name="three")
    with pytest.raises(RuntimeError):
        with transaction.atomic():
            Author.objects.select_for_update().get(name="one")
            Author.objects.all().delete()
            raise RuntimeError
    assert sorted(Author.objects.values_list("name", flat=True)) == ["one", "three"]


def test_errors_and_on(db):
    for _ in range(3):
        with pytest.raises(ProgrammingError):
            with db.cursor() as cur:
                cur.execute("SELEC 1")
        with pytest.raises(OperationalError):
            with db.cursor() as cur:
                cur.execute("SET statement_timeout = 100")
                cur.execute("SELECT pg_sleep(20)")
        with db.cursor() as cur:
            cur.execute("RESET statement_timeout")
            cur.execute("SELECT %s::int", [5])
            assert cur.fetchone() == (5,)
            cur.execute("SHOW TimeZone")
            assert cur.fetchone() == ("UTC",)


def test_server_side_cursors(db):
    Author.objects.bulk_create([Author(name=f"s{i:04}") for i in range(1000)])
    with transaction.atomic():
        seen = [a.name for a in Author.objects.order_by("name").iterator(chunk_size=70)]
    assert seen == [f"s{i:04}" for i in range(1000)]
    seen = []       # outside a transaction Django declares the cursor WITH HOLD
    for a in Author.objects.order_by("name").iterator(chunk_size=70):
        seen.append(a.name)
        if len(seen) % 100 == 0:
            assert Author.objects.filter(name=a.name).exists()
    assert len(seen) == 1000


def test_many_threads_with_persistent_connections(db, door, watch):
    Author.objects.bulk_create([Author(name=f"n{i}") for i in range(door.clients)])
    failures, pids = [], set()

    def one(i):
        who = f"n{i}"
        try:
            with connection.cursor() as cur:
                cur.execute(f"SET app.who = '{who}'")
            for turn in range(4):
                with transaction.atomic():
                    author = Author.objects.get(name=who)
                    Book.objects.create(author=author, title=f"{who}-{turn}")
                    with connection.cursor() as cur:
                        cur.execute("SELECT %s, current_setting('app.who'), pg_backend_pid()", [who])
                        row = cur.fetchone()
                    assert row[:2] == (who, who), f"{who} got {row}"
                    pids.add(row[2])
                    transaction.set_rollback(turn % 2 == 1)
                connection.close_if_unusable_or_obsolete()
            assert Book.objects.filter(author__name=who).count() == 2
        except Exception as e:
            failures.append(e)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(door.clients - 1)]
    with watch():
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert not failures, failures[0]
    assert len(pids) <= door.servers
