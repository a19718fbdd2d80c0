"""Every page. Paths that are always answered on plain HTTP stand in `portal/plainhttp.py` too."""

from django.urls import include, path

from certs.views import activity, alarms, certificates, challenge, health, help, home, preflight, revocations, setup

urlpatterns = [
    path("", home.home, name="home"),
    path("key-ring/saved/", home.ring_saved, name="ring-saved"),
    path("go/", home.go, name="go"),
    path("setup/<str:token>/", setup.setup, name="setup"),
    path("session/<str:token>/", setup.session, name="session"),
    path("certificates/", certificates.certificates, name="certificates"),
    path("certificates/upload/", certificates.upload, name="certificate-upload"),
    path("certificates/self-signed/", certificates.self_signed, name="certificate-self-signed"),
    path("certificates/request/", certificates.request_new, name="certificate-request"),
    path("certificates/request/check/", preflight.request_check, name="certificate-request-check"),
    path("certificates/<uuid:pk>/options/", certificates.options, name="certificate-options"),
    path("certificates/<uuid:pk>/rehearse/", certificates.rehearse, name="certificate-rehearse"),
    path("certificates/<uuid:pk>/", certificates.certificate, name="certificate"),
    path("certificates/<uuid:pk>/served/", certificates.served, name="certificate-served"),
    path("certificates/<uuid:pk>/bind/", certificates.bind, name="certificate-bind"),
    path("certificates/<uuid:pk>/renew/", certificates.renew, name="certificate-renew"),
    path("certificates/<uuid:pk>/leave/", certificates.leave, name="certificate-leave"),
    path("certificates/<uuid:pk>/use/<uuid:version>/", certificates.use_version, name="certificate-use-version"),
    path("certificates/<uuid:pk>/revoke/<uuid:version>/", revocations.revoke, name="certificate-revoke"),
    path("certificates/<uuid:pk>/delete/", certificates.delete, name="certificate-delete"),
    path("configuration/", include("certs.views.configuration.urls")),
    path("activity/", activity.activity, name="activity"),
    path("activity/alarms/", alarms.alarms, name="alarms"),
    path("activity/alarms/seen/", alarms.seen_all, name="alarms-seen"),
    path("activity/alarms/<uuid:pk>/seen/", alarms.seen, name="alarm-seen"),
    path("activity/changes/", activity.changes, name="changes"),
    path("activity/<uuid:pk>/", activity.job, name="job"),
    path("activity/<uuid:pk>/steps/", activity.job_steps, name="job-steps"),
    path("activity/<uuid:pk>/records/", activity.job_records, name="job-records"),
    path("activity/<uuid:pk>/cancel/", activity.job_cancel, name="job-cancel"),
    path("activity/<uuid:pk>/retry/", activity.job_retry, name="job-retry"),
    path("help/", help.help_page, name="help"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("statusz", health.statusz, name="statusz"),
    path(".well-known/acme-challenge/<path:token>", challenge.acme_challenge, name="acme-challenge"),
]
