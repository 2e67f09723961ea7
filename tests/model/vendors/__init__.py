"""The simulated vendors.

They read requests as they are sent, and share no code with the modules under test.
"""

from tests.model.vendors.api import Api
from tests.model.vendors.attentive import Attentive
from tests.model.vendors.batch import Batch
from tests.model.vendors.besitos import Besitos
from tests.model.vendors.id5 import Id5
from tests.model.vendors.opendsr import OpenDsr

APIS: dict[str, type[Api]] = {
    "besitos": Besitos,
    "batch": Batch,
    "id5": Id5,
    "attentive": Attentive,
    "opendsr": OpenDsr,
}
