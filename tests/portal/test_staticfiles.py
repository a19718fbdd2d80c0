from django.contrib.staticfiles.storage import staticfiles_storage
from django.test import Client

from portal import staticfiles


def test_an_address_changes_with_the_content_and_may_be_kept(client: Client, db: None) -> None:
    address = staticfiles_storage.url("bindery.css")
    assert "?v=" in address
    response = client.get(address)
    response.close()
    assert response.status_code == 200
    assert "max-age=604800" in response["Cache-Control"]


def test_what_is_not_there_has_no_version() -> None:
    assert staticfiles.VersionedStorage().url("nothing.css") == "/static/nothing.css"
