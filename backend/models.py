"""Every table, gathered for migrations and tests."""

from backend.accounts import models as accounts
from backend.catalogue import models as catalogue
from backend.datasets import models as datasets
from backend.jobs import models as jobs
from backend.judging import models as judging
from backend.judging import models_lessons as lessons
from backend.judging import models_serving as serving
from backend.kit import models as kit
from backend.kit.database import Base
from backend.training import models as training

__all__ = ["Base", "accounts", "catalogue", "datasets", "jobs", "judging", "kit", "lessons", "serving", "training"]
