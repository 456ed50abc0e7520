// Functions of the test `page` that run in the page, where they see the names of its script.
/* global samples, plots */
const element = (selector) => document.querySelector(selector);
const text = (selector) => element(selector)?.textContent ?? '';
const visible = (selector) => element(selector).offsetHeight ? text(selector) : '';
const number = (selector) => Number.parseFloat(text(selector).replace(/[^0-9.]/g, ''));
const asked = () => performance.getEntriesByType('resource').length;

const names = () => [...document.querySelectorAll('figure')].map((f) => f.dataset.metric).join(' ');
const latest = (key) => samples.map((s) => s.values.get(key)).filter(Number.isFinite);
const kept = () => samples.length;
const negative = () => samples.flatMap((s) => [...s.values]).filter(([, v]) => v < 0);

// The total in the note of a plot.
const counted = (id) =>
	Number.parseInt(text(`[data-metric=${id}] .note`).replaceAll(',', ''), 10);

// The page was opened before the daemon counted anything: the sum of rate * time is the total.
function adds_up(id) {
	const total = samples.reduce((n, s, i) =>
		n + (i ? (s.values.get(id) ?? 0) * (s.at - samples[i - 1].at) / 1000 : 0), 0);
	return total > 0 && Math.abs(total - counted(id)) < 1;
}

// The first line of a plot: its path, its number of points, and its number of gaps.
const path = (id) => element(`[data-metric=${id}] .first`).getAttribute('d');
const plotted = (id) => (path(id).match(/[ML]/g) ?? []).length;
const gaps = (id) => (path(id).match(/M/g) ?? []).length - 1;

// The last point is drawn at the position that the scale has for its value.
function agrees(id) {
	const top = text(`[data-metric=${id}] .scale span`);
	const high = Number.parseFloat(top) * (top.includes('k') ? 1000 : 1);
	const y = Number(/ ([0-9.]+)(h0)?$/.exec(path(id))[1]);
	const value = latest(id).at(-1);
	return Math.abs((98 - y) / 96 * high - value) < high / 500 && value <= high && value > high / 12;
}

// Contrast, as WCAG defines it.
const channels = (color) => color.match(/[0-9.]+/g).map(Number);

function luminance(color) {
	const [r, g, b] = channels(color).map((c) => c / 255)
		.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
	return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// The background color behind an element.
function background(of) {
	const color = getComputedStyle(of).backgroundColor;
	return (channels(color)[3] ?? 1) === 1 ? color : background(of.parentElement);
}

function contrast(of) {
	const [a, b] = [luminance(getComputedStyle(of).color), luminance(background(of))];
	return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}

const texts = () => [...document.body.querySelectorAll('*')].filter((e) => e.offsetHeight &&
	[...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim()));

// The texts with low contrast, after the text colors of all states were added.
function low_contrast() {
	const checked = texts();
	for (const name of ['good', 'wait', 'bad']) {
		const probe = element('main section').appendChild(document.createElement('p'));
		probe.textContent = probe.className = name;
		if (contrast(probe) < 4.5)
			checked.push(probe);
		probe.remove();
	}
	return checked.filter((e) => !e.isConnected || contrast(e) < 4.5)
		.map((e) => `${e.tagName}.${e.className || e.id}`);
}

// The elements that reach over the right edge.
const wider = () => document.documentElement.scrollWidth > innerWidth ? ['the page'] :
	[...document.body.querySelectorAll('*')].filter((e) =>
		e.getBoundingClientRect().right > innerWidth + 0.5).map((e) => e.tagName);

function hide(hidden) {
	Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
	document.dispatchEvent(new Event('visibilitychange'));
}

// The clock and the timers of the page run TIMES as fast.
function speed_up(times) {
	const now = performance.now.bind(performance), wait = setTimeout;
	performance.now = () => now() * times;
	window.setTimeout = (run, ms) => wait(run, ms / times);
}

function run_inline_handler() {
	const p = document.createElement('p');
	p.setAttribute('onclick', 'window.ran = true');
	p.click();
	return window.ran ? 'run' : 'refused';
}

function run_inserted_script() {
	document.head.appendChild(document.createElement('script')).textContent = 'window.ran = true';
	return window.ran ? 'run' : 'refused';
}
