"""The page in a real browser: what it shows is what the engine computed."""

import base64
import contextlib
import json
import re

import numpy as np
import pytest
import wisconsin

import tinygrad_bc as tg
from tinygrad_bc import data
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.errors import GradientError, RenderError
from tinygrad_bc.page.explanation import explain


@pytest.fixture
def open_page(browser):
    """Open a page; at the end, nothing may have been logged and nothing but the file asked for."""
    with contextlib.ExitStack() as stack:
        logged, asked = [], []

        def open_page(path, address="", **options):
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: logged.append(message.text))
            page.on("pageerror", lambda error: logged.append(str(error)))
            page.on("request", lambda request: asked.append(request.url.split("#")[0]))
            page.goto(f"{path.as_uri()}{address}")
            page.wait_for_selector("body[data-ready]")
            assert set(asked) == {path.as_uri()}
            asked.clear()
            return page

        yield open_page
        assert logged == []
        assert asked == []


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """The tutorial's network on its data: the pass, its page, and the gradients that the engine gives."""
    columns = data.as_columns(data.tutorial_split(data.scale_min_max(data.load_wisconsin(wisconsin.CSV)))[0])
    passed = wisconsin.Classifier()(*(tg.tensor(x, name=name) for x, name in zip(columns, "XY")))
    page = explain(passed.Loss, names=passed._asdict())
    recorded = list(BackwardPass(passed.Loss, names=passed._asdict()).cotangents)
    engine = [gradient.data for gradient in tg.grad(passed.Loss, recorded)]
    # The page shows what 1 − Y was computed from, so the values behind it are others; the order is the same.
    gradients = dict(zip(page.backward.cotangents, engine, strict=True))
    return page.save(tmp_path_factory.mktemp("page") / "loss.html"), page.backward, gradients


@pytest.fixture
def small(tmp_path):
    """Return a function that writes the page of a loss."""

    def save(loss, **names):
        return explain(loss, names=names).save(tmp_path / "page.html")

    return save


def step_to(page, step):
    page.evaluate("step => { location.hash = `step=${step + 1}` }", step)
    page.wait_for_function("step => document.querySelector('#scrubber').value === String(step)", arg=step)


# What is written into the page ----------------------------------------------------------------------------------------


def decoded(entry):
    if "fill" in entry:
        return np.full(entry["shape"], entry["fill"])
    return np.frombuffer(base64.b64decode(entry["data"]), f"<{entry['code']}").astype(float).reshape(entry["shape"])


def test_every_array_of_the_classifier_is_the_engines_bit_for_bit(classifier):
    path, backward, gradients = classifier
    held = data_of(path.read_text(encoding="utf-8"))
    assert len(held["steps"]) == 15 + 18
    for value, shown in zip(backward.graph, held["values"]):
        assert decoded(held["arrays"][shown["array"]]).tobytes() == value._array.astype(float).tobytes()
        if value in gradients:
            shown_gradient = decoded(held["arrays"][shown["gradient"]["array"]])
            assert shown_gradient.tobytes() == np.ascontiguousarray(gradients[value]).tobytes()
            assert shown["gradient"]["name"] == backward.name(value)
    assert [kind for kind, _ in held["steps"]] == ["forward"] * 15 + ["backward"] * 18
    assert [number for kind, number in held["steps"] if kind == "backward"] == [
        [v is value for v in backward.graph].index(True) for value in backward.cotangents
    ]


def test_the_page_is_one_small_file_and_holds_each_array_once(classifier):
    text = classifier[0].read_text(encoding="utf-8")
    arrays = data_of(text)["arrays"]
    assert len(text) - sum(len(array.get("data", "")) for array in arrays) < 150_000
    assert len({json.dumps(array) for array in arrays}) == len(arrays)
    assert "://" not in text.replace("http://www.w3.org/", "")  # the names of SVG and MathML


def test_it_refuses_what_is_no_single_number_and_a_path_that_is_no_page(tmp_path):
    W = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match="only a single number has a gradient"):
        explain(W * 2)
    with pytest.raises(RenderError, match=r"\.html"):
        explain((W * W).sum()).save(tmp_path / "page.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_it_in_a_frame(browser, tmp_path):
    W = tg.tensor([1.0, 2.0], requires_grad=True)
    bundle = explain((W * W).sum())._repr_mimebundle_()
    assert bundle["text/plain"].startswith("<page of 2 forward and 3 backward steps")
    outside = tmp_path / "notebook.html"
    outside.write_text(bundle["text/html"], encoding="utf-8")
    page = browser.new_page()
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(outside.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#next").click()
    assert frame.locator("#position").inner_text() == "2 / 5"
    page.close()
    assert logged == []


# What is shown -------------------------------------------------------------------------------------------------------


def test_every_step_of_the_classifier_shows_the_engines_numbers(classifier, open_page):
    path, backward, gradients = classifier
    page = open_page(path)
    names = {backward.graph.label(value): value._array for value in backward.graph}
    names |= {backward.name(value): gradient for value, gradient in gradients.items()}
    for step in range(33):
        step_to(page, step)
        shown = page.evaluate("""() => panels.step.views.map(view => ({title: view.title, shape: view.array.shape,
            numbers: [...view.array.numbers], cells: view.small ? view.cells.map(cell => cell.textContent) : null}))""")
        assert shown
        for view in shown:
            if view["title"] in names:
                assert np.array(view["numbers"], float).tobytes() == names[view["title"]].astype(float).tobytes()
                assert view["shape"] == list(names[view["title"]].shape)
            if view["cells"]:
                numbers = [float(cell.replace("−", "-")) for cell in view["cells"]]
                np.testing.assert_allclose(numbers, view["numbers"], rtol=5.1e-4)
        kind = "forward" if step < 15 else "backward"
        assert page.locator(".eyebrow b").inner_text().lower() == kind
        assert page.locator(".node.current").count() == 1


SUMS = """number => {
    const {gradient} = values[number];
    const {shape, size} = arrayOf(gradient.array);
    return Array.from({length: size}, (_, flat) => arithmetic(gradient.name, shape, gradient.uses, flat).sum);
}"""


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2", "Z1", "A1", "Z2", "Yh", "%18"])
def test_the_arithmetic_adds_up_to_the_gradient(classifier, open_page, name):
    path, backward, gradients = classifier
    number, value = next((n, v) for n, v in enumerate(backward.graph) if backward.graph.label(v) == name)
    sums = np.array(open_page(path).evaluate(SUMS, number)).reshape(value.shape)
    np.testing.assert_allclose(sums, gradients[value], rtol=1e-12, atol=1e-12 * np.abs(gradients[value]).max())


def test_pointing_at_an_element_lights_up_its_sources_and_writes_the_sum(classifier, open_page):
    path, _, gradients = classifier
    page = open_page(path, "#step=33")
    map_of_W1 = page.locator("canvas[aria-label*='dLoss_W1']")
    map_of_W1.scroll_into_view_if_needed()
    box = map_of_W1.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 4.5 / 9, box["y"] + box["height"] * 3.5 / 15)
    written = page.locator(".arithmetic").inner_text()
    assert "dLoss_W1[3, 4]" in written
    assert "Σₖ dLoss_Z1[3, k] · X[4, k]" in written
    assert "500 terms" in written
    expected = next(g for value, g in gradients.items() if value.name == "W1")[3, 4]
    assert float(page.locator(".arithmetic").get_attribute("data-sum")) == pytest.approx(expected, rel=1e-12)
    lit = page.evaluate("panels.step.views.map(view => [view.title, view.lit && [...view.lit].sort((a, b) => a - b)])")
    assert lit[0] == ["dLoss_Z1", list(range(1500, 2000))]
    assert lit[1] == ["X", list(range(2000, 2500))]
    page.mouse.move(2, 2)
    assert page.evaluate("panels.step.views.every(view => !view.lit)")


def test_arithmetic_of_every_kind_of_operation(small, open_page):
    rng = np.random.default_rng(0)
    a = tg.tensor(rng.normal(size=(2, 3, 4)), requires_grad=True, name="a")
    b = tg.tensor(rng.normal(size=(4, 5)), requires_grad=True, name="b")
    c = tg.tensor(rng.normal(size=(3, 1)), requires_grad=True, name="c")
    hidden = tg.softmax(a @ b + c, axis=-1)  # batched; broadcast; every element depends on a row
    twice = tg.concatenate([hidden[0, 1:], hidden[1, :2]], axis=0) * 2.0
    third = tg.max(twice.T, axis=0) + tg.mean(c) + tg.cumsum(c[:, 0], axis=0)[np.array([0, 0, 2, 1])] * tg.tanh(c[1, 0])
    loss = (third * third).sum() + (b * b).mean()
    path = small(loss)
    backward = BackwardPass(loss)
    page = open_page(path)
    kinds = set()
    for number, value in enumerate(backward.graph):
        if value not in backward.cotangents or not backward.contributions[value]:
            continue
        kinds |= set(page.evaluate("number => values[number].gradient.uses.map(use => use.trace.kind)", number))
        engine = backward.cotangents[value]._array
        sums = np.array(page.evaluate(SUMS, number)).reshape(value.shape)
        np.testing.assert_allclose(sums, engine, rtol=1e-10, atol=1e-12 * np.abs(engine).max())
    assert kinds == {"elementwise", "spread", "sparse"}
    for step in range(page.evaluate("steps.length")):
        step_to(page, step)
        page.evaluate("panels.step.views.forEach(view => view.pick(view.rows * view.columns - 1))")
        if page.evaluate(
            "step => steps[step][0] === 'backward' && step > steps.findIndex(s => s[0] === 'backward')", step
        ):
            assert "=" in page.locator(".arithmetic").inner_text()


def test_an_operation_of_the_users_is_traced_too(small, open_page):
    @tg.primitive(vjps=[lambda g, y, x: -2 * x * y * g], formula="bell({x})", samples=lambda rng: [], name="page_bell")
    def bell(x):
        return np.exp(-x * x)

    x = tg.tensor([0.5, -1.0, 3.0], requires_grad=True, name="x")
    page = open_page(small(bell(x).sum()), "#step=99")
    assert page.evaluate("values.flatMap(v => v.gradient.uses.map(use => use.trace.kind))") == ["elementwise", "spread"]
    page.locator("table[aria-label^=dLoss_x] td").first.hover()
    expected = -2 * 0.5 * np.exp(-0.25)
    assert float(page.locator(".arithmetic").get_attribute("data-sum")) == pytest.approx(expected, rel=1e-15)


def test_awkward_arrays(small, open_page):
    scalar = tg.tensor(2.0, requires_grad=True, name="scalar")
    empty = tg.tensor(np.zeros((0, 3)), requires_grad=True, name="empty")
    single = tg.tensor(np.float32([1.5, np.inf]), requires_grad=True, name="single")
    four = tg.tensor(np.arange(120.0).reshape(2, 3, 4, 5), requires_grad=True, name="four")
    mask = tg.tensor(np.array([True, False]))
    large = tg.tensor(np.full((600, 700), 0.5), requires_grad=True, name="large")
    loss = scalar * four.sum() + empty.sum() + tg.where(mask, single, 0.0).sum() + (large * scalar).sum()
    page = open_page(small(loss))
    for step in range(page.evaluate("steps.length")):
        step_to(page, step)
        assert page.locator("h2").first.inner_text()
    number = page.evaluate("values.findIndex(value => value.label === 'four')")
    page.evaluate("number => chooseValue(number)", number)
    slider = page.get_by_label(
        "Slice of dloss_four" if page.locator("#title").inner_text().startswith("loss") else "Slice of dLoss_four"
    )
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".slice output").last.inner_text() == "[0, 1, :, :]"
    assert page.evaluate("page.arrays.filter(array => array.steps).length") > 0
    assert "large arrays only a part" in page.locator("#totals").text_content()


# Moving about ---------------------------------------------------------------------------------------------------------


def test_the_keyboard_reaches_everything(classifier, open_page):
    page = open_page(classifier[0])
    press, position = page.keyboard.press, page.locator("#position")
    press("ArrowRight")
    assert position.inner_text() == "2 / 33"
    press("End")
    assert position.inner_text() == "33 / 33"
    assert page.evaluate("location.hash") == "#step=33"
    assert page.locator("#announcement").inner_text().startswith("Step 33 of 33, backward: dLoss_W1 = ")
    press("ArrowLeft")
    press("Home")
    assert position.inner_text() == "1 / 33"
    press("2")
    assert page.locator("#panel-derivation").is_visible()
    press("3")
    assert page.get_by_role("table").first.is_visible()
    press("1")
    press("?")
    assert page.get_by_role("dialog").is_visible()
    press("Escape")
    press("g")
    before = page.locator("#scene").get_attribute("transform")
    press("ArrowRight")
    press("+")
    page.wait_for_function(
        "before => document.querySelector('#scene').getAttribute('transform') !== before", arg=before
    )
    assert position.inner_text() == "1 / 33"
    press("0")
    press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert "theme=dark" in page.evaluate("location.hash")
    reached = set()
    for _ in range(40):
        press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"search", "theme", "help", "zoom-in", "fit", "graph", "tab-step", "scrubber", "play", "CANVAS"} <= reached


def test_an_element_can_be_chosen_with_the_keyboard(classifier, open_page):
    page = open_page(classifier[0], "#step=33")
    page.locator("canvas[aria-label*='dLoss_W1']").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator(".arithmetic .left").inner_text() == "dLoss_W1[2, 1]"
    assert page.locator("#position").inner_text() == "33 / 33"


def test_playing_walks_on_and_stops(small, open_page):
    W = tg.tensor([1.0, 2.0], requires_grad=True)
    page = open_page(small((W * W).sum()))
    page.clock.install()
    page.keyboard.press("Space")
    page.clock.run_for(20_000)
    assert page.locator("#position").inner_text() == "5 / 5"
    assert page.get_by_role("button", name="Play").is_visible()


def test_search_finds_names_operations_and_source(classifier, open_page):
    page = open_page(classifier[0])
    for text, label in {"Yh": "Yh", "relu": "A1", "tg.sigmoid": "Yh"}.items():
        page.keyboard.press("/")
        page.get_by_role("combobox").fill(text)
        page.keyboard.press("Enter")
        assert page.locator(".node.current text").first.text_content() == label
        page.keyboard.press("Escape")
    page.get_by_role("combobox").fill("log")
    page.keyboard.press("Enter")
    first = page.locator(".node.current").get_attribute("id")
    page.keyboard.press("Enter")
    assert page.locator(".node.current").get_attribute("id") != first


def scoped():
    x = tg.tensor(np.linspace(-1, 1, 4), requires_grad=True, name="x")
    hidden = x
    for _ in range(2):
        with tg.scope("block"):
            with tg.scope("inner"):
                hidden = tg.tanh(hidden * 2.0)
            hidden = hidden + 1.0
    return hidden.sum()


def test_scopes_fold_and_unfold(small, open_page):
    page = open_page(small(scoped()))
    nodes = page.locator(".node")
    everything = nodes.count()
    page.locator("#c0 text").click()
    assert nodes.count() == everything - 4  # x, which only the first block uses, and three operations
    assert page.locator(".folded").count() == 1
    page.locator("#scopes summary").click()
    page.get_by_role("checkbox").first.check()
    assert nodes.count() == everything
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator(".folded").count() == 2
    page.get_by_role("combobox").fill("tanh")
    page.keyboard.press("Enter")
    assert page.locator(".folded").count() == 1
    assert page.locator(".node.current").is_visible()


def test_names_are_inert(small, open_page):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{DATA}}%3\\N\"'"
    W = tg.tensor([[1.0, 2.0]], requires_grad=True, name=evil)
    with tg.scope(evil):
        loss = (W * W).sum()
    loss.name = "λ" + evil
    page = open_page(small(loss))
    page.on("dialog", lambda dialog: pytest.fail("a script ran"))
    for step in range(page.evaluate("steps.length")):
        step_to(page, step)
    page.keyboard.press("2")
    page.keyboard.press("3")
    assert page.locator("img").count() == 0
    assert page.locator("#title").inner_text().startswith("λ</script>")


# How it looks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [360, 800, 1280, 2560])
def test_nothing_is_wider_than_the_screen(classifier, open_page, width):
    page = open_page(classifier[0], viewport={"width": width, "height": 740})
    for step, tab in [(0, "1"), (22, "1"), (32, "1"), (32, "2"), (32, "3")]:
        step_to(page, step)
        page.keyboard.press(tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        inside = "[...document.querySelectorAll('#panel-step.chosen, #panel-derivation')]"
        assert page.evaluate(f"{inside}.every(panel => panel.scrollWidth <= panel.clientWidth + 1)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(classifier, open_page, scheme):
    page = open_page(classifier[0], color_scheme=scheme)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    colour = page.evaluate("""() => { const style = getComputedStyle(document.documentElement);
        return Object.fromEntries(['ground', 'paper', 'ink', 'soft', 'forward', 'backward', 'parameter', 'constant',
            'output', 'mark', 'warning'].map(name => [name, style.getPropertyValue('--' + name).trim()])) }""")

    def luminance(text):
        digits = text[1:] if len(text) == 7 else "".join(2 * digit for digit in text[1:])
        linear = ((np.array(list(bytes.fromhex(digits))) / 255 + 0.055) / 1.055) ** 2.4
        return linear @ [0.2126, 0.7152, 0.0722]

    pairs = [
        (ink, ground) for ink in ("ink", "soft") for ground in ("ground", "paper", "parameter", "constant", "output")
    ]
    for ink, ground in [*pairs, ("forward", "paper"), ("backward", "paper"), ("warning", "paper"), ("ink", "mark")]:
        low, high = sorted([luminance(colour[ink]), luminance(colour[ground])])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_everything_has_a_name_for_screen_readers(classifier, open_page):
    page = open_page(classifier[0], "#step=33")
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, canvas, [role]')].filter(element =>
        !(element.getAttribute('aria-label') || element.getAttribute('aria-labelledby') || element.textContent.trim()
        || [...element.labels ?? []].some(label => label.textContent.trim()))
        ).map(element => element.outerHTML)""")
    assert nameless == []
    tree = page.locator("body").aria_snapshot()
    assert 'slider "Step"' in tree
    assert re.search(r'img "Heat map of dLoss_W1: 15×9, .* … ', tree)


def test_it_prints(classifier, open_page):
    page = open_page(classifier[0], "#step=24&theme=dark")
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 20_000
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


# Large ----------------------------------------------------------------------------------------------------------------


def deep(length=2_000):
    x = tg.tensor(np.linspace(-1, 1, 12), requires_grad=True, name="x")
    hidden = x
    for k in range(length // 40):
        with tg.scope(f"block {k}"):
            kept = hidden
            for _ in range(19):
                hidden = tg.tanh(hidden * 1.01)
            hidden = hidden + kept
    return hidden.sum()


@pytest.mark.filterwarnings("ignore:.*layout may take a long time")
def test_a_graph_of_two_thousand_operations(small, open_page):
    page = open_page(small(deep()))
    assert page.evaluate("values.length") > 1_950
    assert page.locator(".folded").count() == 50
    started = page.evaluate("performance.now()")
    for step in (1_000, 3_000, 10, 3_800):
        page.evaluate("step => goTo(step)", step)
    assert page.evaluate("performance.now()") - started < 4_000
    page.evaluate("panels.derivation.show(3800)")
    assert page.locator("ol.derivation li").count() == 150
