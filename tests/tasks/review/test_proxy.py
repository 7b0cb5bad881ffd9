"""The review page through real proxies with TLS, in Chromium, as docs/operations/review-proxy.md says."""

import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from benchmarks._review_server import ReviewServer
from flows.runtime.prefect_server import free_port

PAGE = (Path(__file__).parents[3] / "docs" / "operations" / "review-proxy.md").read_text()
CSRF = "X-Cleanplate-CSRF"
PATIENCE_SECONDS = 30
FORGED = {
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=10.9.8.7;host=evil.example;proto=http",
}


def block(kind: str) -> str:
    """The first code block of that kind on the page."""
    found = re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def changed(text: str, **words: str | int) -> str:
    """The text with each word of it, which must be there, replaced."""
    for old, new in words.items():
        assert old in text
        text = text.replace(old, str(new))
    return text


@dataclass(frozen=True)
class Proxy:
    """A proxy's program, and how the page's configuration becomes one for this test."""

    program: str
    configuration: Callable[[Path, int, int], str]
    command: Callable[[Path], list[str]]
    path: str = "/"


def nginx_site(port: int, server_port: int, folder: Path) -> str:
    return changed(
        block("nginx"),
        **{
            "listen 443": f"listen 127.0.0.1:{port}",
            "127.0.0.1:8000": f"127.0.0.1:{server_port}",
            "/etc/ssl/review.example": folder / "site",
        },
    )


def nginx(folder: Path, port: int, server_port: int) -> str:
    """The page's site in the frame that Debian's own nginx.conf gives it, and in this folder alone."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    site = nginx_site(port, server_port, folder)
    frame = f"pid {folder}/pid; daemon off; error_log {folder}/log; events {{}}"
    return f"{frame}\nhttp {{ access_log off; {temporary}\n{site} }}\n"


def nginx_under_a_path(folder: Path, port: int, server_port: int) -> str:
    return changed(nginx(folder, port, server_port), **{"location / ": "location /review/ "})


def caddy(folder: Path, port: int, server_port: int) -> str:
    """The page's site with our certificate, since nobody gives one to a name on this machine."""
    certificate = f"\ttls {folder}/site.pem {folder}/site.key\n"
    site = changed(
        block("caddy"),
        **{
            "review.example {\n": f"review.example:{port} {{\n{certificate}",
            "127.0.0.1:8000": f"127.0.0.1:{server_port}",
        },
    )
    return f"{{\n\tadmin off\n\tauto_https disable_redirects\n\tstorage file_system {folder}\n}}\n{site}"


PROXIES = {
    "nginx": Proxy("nginx", nginx, lambda file: ["-c", str(file), "-e", "stderr"]),
    "nginx-under-a-path": Proxy(
        "nginx", nginx_under_a_path, lambda file: ["-c", str(file), "-e", "stderr"], "/review/"
    ),
    "caddy": Proxy("caddy", caddy, lambda file: ["run", "--adapter", "caddyfile", "--config", str(file)]),
}


@dataclass
class Site:
    """A running proxy with the server behind it."""

    url: str
    port: int
    server: str
    asked: SimpleNamespace

    def client(self, address: str, **headers: str) -> "Visitor":
        """Somebody at another address of this machine who asks the proxy."""
        context = ssl.create_default_context(cafile=str(self.asked.certificate))
        transport = httpx.HTTPTransport(local_address=address, verify=context)
        # The name stands in no DNS; the certificate is checked against it all the same.
        return Visitor(transport, self.url, self.port, headers)


class Visitor(httpx.Client):
    """Asks 127.0.0.1, where the URL names review.example."""

    def __init__(self, transport: httpx.HTTPTransport, url: str, port: int, headers: dict[str, str]) -> None:
        host = f"review.example:{port}"
        super().__init__(
            transport=transport,
            base_url=url.replace("review.example", "127.0.0.1"),
            headers={"Host": host, "Origin": f"https://{host}", CSRF: "", **headers},
        )

    def build_request(self, *given, **named) -> httpx.Request:
        named["extensions"] = {"sni_hostname": "review.example"}
        return super().build_request(*given, **named)

    def sign_in(self, token: str = "wrong") -> int:
        return self.post("api/session", json={"token": token}).status_code


@pytest.fixture(scope="module", params=list(PROXIES))
def site(request: pytest.FixtureRequest, ask, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One a proxy; so every test asks from addresses of its own."""
    proxy, folder = PROXIES[request.param], tmp_path_factory.mktemp("site")
    program = shutil.which(proxy.program, path="/usr/sbin:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip(f"no {proxy.program} (Debian: apt-get install {proxy.program})")
    asked = ask(folder / "asked")
    asked.certificate = certificate(folder)
    port = free_port()
    url = f"https://review.example:{port}{proxy.path}"
    words = shlex.split(block("sh"))
    assert words[:5] == ["cleanplate", "review", "serve", "--port", "8000"]
    told = [url if word == "https://review.example" else word for word in words[5:]]
    server = ReviewServer(asked.workspace.root, "b1", folder / "server.log", *told)
    file = folder / "proxy"
    file.write_text(proxy.configuration(folder, port, server.port))
    with (folder / "proxy.log").open("wb") as log:
        running = subprocess.Popen(
            [program, *proxy.command(file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        answers(port, running, folder / "proxy.log")
        yield Site(url, port, server.address, asked)
    finally:
        running.terminate()
        running.wait(PATIENCE_SECONDS)
        server.kill()


def certificate(folder: Path) -> Path:
    """A self-signed one for review.example."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=review.example", "-addext", "subjectAltName=DNS:review.example",
         "-keyout", folder / "site.key", "-out", folder / "site.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "site.pem"


def answers(port: int, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the proxy does not start: {log.read_text()[-2000:]}")


def test_sign_in_answer_and_undo(site: Site, open_page, tmp_path: Path) -> None:
    review_page = open_page(site.url, site.asked.ana, ignore_https_errors=True, extra_http_headers=FORGED)
    first = review_page.press("y")
    second = review_page.press("4")
    review_page.settled()
    assert site.asked.ledger.reviews.decisions([first, second]) == {first: "yes", second: "no"}
    review_page.page.keyboard.press("u")
    review_page.said("Undone")
    review_page.ready()
    assert review_page.candidate == second
    assert site.asked.ledger.reviews.decisions([first, second]) == {first: "yes"}
    review_page.page.reload()
    review_page.ready()
    assert review_page.candidate == second, "the session outlives a reload"
    (cookie,) = review_page.page.context.cookies()
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    prefix = "/review" if site.url.endswith("/review/") else "/"
    named = "__Host-cleanplate_review" if prefix == "/" else "__Secure-cleanplate_review"
    assert (cookie["name"], cookie["path"], cookie["domain"]) == (named, prefix, "review.example")
    review_page.page.screenshot(path=tmp_path / "page.png")
    review_page.page.click("text=Quality")
    review_page.page.wait_for_selector("text=items have all their answers")
    review_page.page.click("text=cleanplate review")
    review_page.ready()
    review_page.page.click("#sign-out")
    review_page.page.wait_for_selector("#token:visible")
    assert review_page.page.context.cookies() == []
    assert review_page.complaints == []


def test_one_who_guesses_tokens_locks_nobody_else_out(site: Site) -> None:
    with site.client("127.0.0.2") as guesser:
        tried = []
        for number in range(12):
            guesser.headers["X-Forwarded-For"] = f"10.0.0.{number}"
            tried.append(guesser.sign_in())
        assert tried == [401] * 10 + [429] * 2, "a forged address is not taken for his own"
        assert guesser.sign_in(site.asked.ben) == 429
    with site.client("127.0.0.3") as ben:
        assert ben.sign_in(site.asked.ben) == 200


def test_a_form_of_another_site(site: Site) -> None:
    name = f"review.example:{site.port}"
    for origin in ("https://evil.example", "null", f"http://{name}", "https://review.example", site.server):
        forwarded = {"X-Forwarded-Host": origin.rpartition("/")[2], "X-Forwarded-Proto": origin[:4]}
        with site.client("127.0.0.4", Origin=origin, **forwarded) as client:
            assert client.sign_in(site.asked.ana) == 403, origin
    with site.client("127.0.0.4") as client:
        assert client.sign_in(site.asked.ana) == 200


def test_whoever_reaches_the_server_itself_forges_nothing(site: Site) -> None:
    """From an address that is no proxy's, straight to the server's port."""
    origin = {"Origin": f"https://review.example:{site.port}", CSRF: ""}
    transport = httpx.HTTPTransport(local_address="127.0.0.5")
    with httpx.Client(base_url=site.server, headers=origin, transport=transport) as client:

        def sign_in(**headers: str) -> int:
            return client.post("/api/session", json={"token": "wrong"}, headers=headers).status_code

        tried = [sign_in(**{"X-Forwarded-For": f"10.1.0.{number}"}) for number in range(11)]
        assert tried == [401] * 10 + [429]
        own = {"Origin": site.server, "X-Forwarded-Proto": "http", "X-Forwarded-Host": site.server[7:]}
        assert sign_in(**own) == 403
        named = {"Host": "evil.example", "X-Forwarded-Host": f"review.example:{site.port}"}
        assert client.get("/", headers=named).status_code == 400
        assert client.get("/").status_code == 200
