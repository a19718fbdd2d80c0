"""The question before a certificate is asked for in a container whose data would go with it."""

from typing import Any

from django import forms

from certs.domain.errors import NotAllowed
from certs.forms.base import PortalForm
from certs.services.container import volume_require, volume_risk


class VolumeForm(PortalForm):
    """Has the field `without_volume` only where there is something to ask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.volume_risk = volume_risk()
        if self.volume_risk is not None:
            self.fields["without_volume"] = forms.BooleanField(
                label="Go on without a volume; what is issued may be lost", required=False
            )

    def spare_volume(self) -> None:
        """Where nothing new is begun."""
        self.volume_risk = None
        self.fields.pop("without_volume", None)

    def agree_volume(self) -> bool:
        """Once the form is valid: False with its error filled where the question is open."""
        try:
            volume_require(agreed=bool(self.cleaned_data.get("without_volume")))
        except NotAllowed as error:
            self.add_error("without_volume" if "without_volume" in self.fields else None, str(error))
            return False
        return True
