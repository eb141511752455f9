"""A Django endpoint behind AGUIMiddleware.

uv run --with django-ag-ui==0.70.0 --with 'rx-agui[serve]' django_app.py
"""

from collections.abc import AsyncIterator

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path
from pydantic_ai.models.function import AgentInfo, FunctionModel

from rx_agui.asgi import AGUIMiddleware
from rx_agui.replay import MemoryLog

settings.configure(
    ROOT_URLCONF=__name__, SECRET_KEY="an example", ALLOWED_HOSTS=["*"], DEBUG=False
)
django.setup()

from django_ag_ui import AGUIServer, ToolRegistry  # noqa: E402  # wants the settings


async def script(messages: list[object], info: AgentInfo) -> AsyncIterator[str]:
    """Stand in for a model: no key is needed."""
    for word in range(40):
        if word == 20 and "fail" in str(messages[-1]):
            raise RuntimeError("the model is gone")
        yield f"word{word} "


server = AGUIServer(
    ToolRegistry(),
    model=FunctionModel(stream_function=script),
    require_authenticated=False,
    csrf_exempt=True,
)
urlpatterns = [path("agent/", server.urls)]
app = AGUIMiddleware(get_asgi_application(), log=MemoryLog())

if __name__ == "__main__":
    uvicorn.run(app, port=8000)
