"""The one settings file, fed by the environment through `portal/env.py`. docs/settings.md lists every variable."""

from pathlib import Path
from typing import Any

import dj_database_url

from portal import env, home, logs

BASE_DIR = home.BASE_DIR
HOME: Path = home.path()
CONTAINER_ROOT = Path("/")  # where the marks of a container are looked for
MACHINE_ROOT = Path("/")  # where the timers and cron files of other ACME clients are looked for
VERSION = "0.1.0"

SECRET_KEY = home.secret_key()
DEBUG = False
# Accepted hosts change at run time without a restart, so our own middleware judges them (portal/middleware.py).
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "csp",
    "django_q",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "certs",
]

MIDDLEWARE = [
    "portal.forwarded.ForwardedHeaders",  # before anything reads the address, the scheme or the host
    # These only add headers, and every answer is to have them, refusals included.
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "certs.api.problems.ProblemsForPrograms",  # whatever refuses, a program gets no page
    "portal.middleware.PlainHttpPaths",
    "portal.middleware.AcceptedHosts",
    "portal.scheme.SchemePolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.middleware.PersonalPages",
    "portal.middleware.SecureCookies",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "portal.middleware.OwnOrigins",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "certs.views.client_certificates.ClientCertificates",
    "certs.views.setup.SetupGate",
    "certs.views.errors.ErrorPages",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "certs.views.context.portal",
            ]
        },
    }
]

SQLITE_OPTIONS = {
    "timeout": 20,
    # IMMEDIATE takes the write lock at BEGIN, where it can be waited for: without it 12 % of writes were lost to
    # "database is locked" under load.
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
}


def _database() -> dict[str, Any]:
    url = env.text("DATABASE_URL")
    if not url:
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": home.database_file(), "OPTIONS": SQLITE_OPTIONS}
    try:
        # A parser of URLs with names of engines; it raises ValueError and its own UnknownSchemeError (a ValueError).
        parsed = dict(dj_database_url.parse(url))
    except ValueError as error:
        # The reason may quote the password.
        raise env.EnvError(
            "DATABASE_URL cannot be read. Write postgresql://user:password@host:5432/name, with @ : / ? # and % of the "
            "password encoded (%40, %3A, %2F, %3F, %23, %25)."
        ) from error
    if parsed.get("ENGINE") != "django.db.backends.postgresql":
        raise env.EnvError("DATABASE_URL must be a postgresql:// address. Without it Bindery uses SQLite.")
    return parsed


DATABASES = {"default": {**_database(), "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True, "ATOMIC_REQUESTS": False}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        # What goes beyond is thrown away, whatever it is; who tries many names must not wipe out that he has tried.
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}

AUTH_USER_MODEL = "certs.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
ACCOUNT_ADAPTER = "portal.accounts.ClosedAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}  # the message in portal.accounts names the five minutes
ACCOUNT_LOGIN_ON_PASSWORD_RESET = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.zone("TZ", "UTC")
USE_I18N = True
FORMAT_MODULE_PATH = "portal.formats"
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Served from the finders, without collectstatic: `make run` has no build step.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "portal.staticfiles.VersionedStorage"},
}
WHITENOISE_MAX_AGE = 7 * 24 * 3600  # addresses change with the content

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Other names per scheme, and Secure by it: portal/middleware.py.
SESSION_COOKIE_NAME = "bindery_session"
CSRF_COOKIE_NAME = "bindery_csrf"
CSRF_FAILURE_VIEW = "certs.views.errors.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = ["portal.uploads.MemoryUploadHandler"]

# The API.
API_RATE = env.rate("BINDERY_API_RATE", "1200/m")  # requests and seconds, for each token; 0 requests: no limit
API_IF_MATCH = env.boolean("BINDERY_API_IF_MATCH")  # whether a change without If-Match is refused
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Bindery",
    "DESCRIPTION": "Certificates from anywhere: taken in, issued, renewed, revoked, handed out.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "SORT_OPERATIONS": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "DISABLE_DOCSTRING_DESCRIPTIONS": True,
    "PREPROCESSING_HOOKS": ["certs.api.schema.only_the_api"],
    "POSTPROCESSING_HOOKS": ["certs.api.schema.problems_add"],
}

QUEUE_WORKERS = env.integer("BINDERY_QUEUE_WORKERS", 2, low=1, high=32)
Q_CLUSTER = {
    "name": "bindery",
    "orm": "default",  # the Redis broker loses the task of a killed worker
    "workers": QUEUE_WORKERS,
    "queue_limit": QUEUE_WORKERS,
    "bulk": 1,
    "timeout": 600,
    "retry": 2400,
    "max_attempts": 3,
    "ack_failures": True,
    "catch_up": False,
    "recycle": 200,
    "save_limit": 500,
    "poll": 0.2,
    "label": "Queue",
    "log_level": "WARNING",
}

# Serving.
HTTP_PORT = env.port("BINDERY_HTTP_PORT", 8000)
HTTPS_PORT = env.port("BINDERY_HTTPS_PORT", 8443)
HTTPS_PORT_LOCKED = env.is_set("BINDERY_HTTPS_PORT")
HTTP_ADDRESSES = env.addresses("BINDERY_HTTP_ADDRESS") or ["0.0.0.0", "::"]
HTTPS_ADDRESSES = env.addresses("BINDERY_HTTPS_ADDRESS") or ["0.0.0.0", "::"]
HTTPS_ADDRESS_LOCKED = env.is_set("BINDERY_HTTPS_ADDRESS")
EXTRA_HOSTS = env.words("BINDERY_ALLOWED_HOSTS")
PUBLIC_URL = env.text("BINDERY_PUBLIC_URL")
PKI_BASE_URL = env.text("BINDERY_PKI_BASE_URL")  # stands in what our own CAs sign; wins over the page and locks it
WEB_WORKERS = env.integer("BINDERY_WEB_WORKERS", 2, low=1, high=64)
WEB_THREADS = env.integer("BINDERY_WEB_THREADS", 16, low=2, high=256)
NODE = env.text("BINDERY_NODE")  # the name of this machine in a cluster; the host name where empty
PUBLIC_ROOTS = env.text("BINDERY_PUBLIC_ROOTS")  # PEM file of the roots browsers trust; the system's store where empty
# TLS that ends in front of the portal. The environment wins over the page, and locks it.
TLS_IN_FRONT = env.boolean("BINDERY_TLS_IN_FRONT")
TLS_IN_FRONT_LOCKED = env.is_set("BINDERY_TLS_IN_FRONT")
TRUSTED_PROXIES = env.proxies("BINDERY_TRUSTED_PROXIES")
TRUSTED_PROXIES_LOCKED = env.is_set("BINDERY_TRUSTED_PROXIES")
ALLOW_PRIVATE_CA = env.boolean("BINDERY_ALLOW_PRIVATE_CA")
CA_BUNDLE = env.certificates("BINDERY_CA_BUNDLE")  # trusted besides the system's, for all that goes out
# The environment wins over the page, and locks it.
ON_DEMAND = env.boolean("BINDERY_ON_DEMAND")
ON_DEMAND_LOCKED = env.is_set("BINDERY_ON_DEMAND")
ON_DEMAND_HOSTS = env.words("BINDERY_ON_DEMAND_HOSTS")
ON_DEMAND_HOSTS_LOCKED = env.is_set("BINDERY_ON_DEMAND_HOSTS")
ON_DEMAND_HOURLY = env.integer("BINDERY_ON_DEMAND_HOURLY", 10, low=0, high=1000)  # children of wildcards
EXPORT = env.boolean("BINDERY_EXPORT")
EXPORT_LOCKED = env.is_set("BINDERY_EXPORT")
EXPORT_ACCESS = {  # as the fields of PortalState are called; only what is set
    name: value
    for name, value in (
        ("export_owner", env.text("BINDERY_EXPORT_OWNER")),
        ("export_group", env.text("BINDERY_EXPORT_GROUP")),
        ("export_mode", env.text("BINDERY_EXPORT_MODE")),
    )
    if value
}
EXPORT_DIR = Path(env.text("BINDERY_EXPORT_DIR") or HOME / "acme").absolute()
MIGRATE_WITHOUT_SNAPSHOT = env.boolean("BINDERY_MIGRATE_WITHOUT_SNAPSHOT")
DNS_RESOLVERS = env.servers("BINDERY_DNS_RESOLVERS")  # recursive servers; the system's where empty
DNS_AUTHORITIES = env.servers("BINDERY_DNS_AUTHORITIES")  # asked instead of a zone's own servers
HOOKS_DIR = Path(env.text("BINDERY_HOOKS_DIR") or HOME / "hooks").absolute()  # no script elsewhere is ever run
# What the page may read certbot's or acme.sh's files from; the command line reads anywhere.
IMPORT_DIRS = [Path(word).absolute() for word in env.words("BINDERY_IMPORT_DIRS")]

# Periods, in seconds. Tests use shorter ones.
LEASE_SECONDS = 60
FAILURE_LOOK_SECONDS = 8.0  # at the names of an order that failed; 0: not at all
LEASE_RENEW_SECONDS = 20
RECOVERY_SECONDS = 30
WATCHDOG_SECONDS = 180
ALARM_WATCH_SECONDS = 15  # how often the supervisor looks whether worker and sweep are well, and sends what waits
EXPORT_WATCH_SECONDS = 5.0  # how often the supervisor looks whether something is to be exported
EXPORT_AGAIN_SECONDS = 300.0  # and when it looks at the files again although nothing has changed
MIGRATION_PATIENCE_SECONDS = 900.0  # for another node that is bringing the database up to date
SERVED_SECONDS = 15.0  # how long an order waits to see that what it brought is served
PROOF_WATCH_SECONDS = 0.5  # how often the supervisor looks whether its listener is to be asked what it serves
PROOF_AGAIN_SECONDS = 300.0  # and when it asks again although nothing has changed
DIAGNOSIS_WATCH_SECONDS = 2.0  # how often the supervisor looks whether a page wishes for its diagnosis
DIAGNOSIS_ALIVE_SECONDS = 60.0  # a node that was not heard of for so long is not shown there
ALARM_AFTER_SECONDS = 600  # how long they must be ill for an alarm
GENERATION_POLL_SECONDS = 1.0
HELLO_SECONDS = 5.0
HANDSHAKE_SECONDS = 5.0
HEADER_SECONDS = 10.0
REBIND_CONFIRM_SECONDS = 120
FORCE_SSL_CONFIRM_SECONDS = 120
CLIENT_AUTH_CONFIRM_SECONDS = 180
FRONT_CONFIRM_SECONDS = 300  # to log in by the other way, perhaps with a password
IMPORT_SCAN_SECONDS = 60
TICK_MINUTES = 5
PROBE_PORT, PROBE_TLS_PORT = 80, 443  # where a CA asks for the answer; tests have no right to them

LOG_LEVEL = env.choice("BINDERY_LOG_LEVEL", "info", ("debug", "info", "warning", "error"))
LOG_FORMAT = env.choice("BINDERY_LOG_FORMAT", "text", ("text", "json"))
LOGGING_CONFIG = None
logs.configure(LOG_LEVEL, LOG_FORMAT)
