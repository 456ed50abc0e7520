// Functions of the test `page` that run in the page, where they see the names of its script.
/* global samples, plots */
const element = (selector) => document.querySelector(selector);
const text = (selector) => element(selector)?.textContent ?? '';
const visible = (selector) => element(selector).offsetHeight ? text(selector) : '';
const number = (selector) => Number.parseFloat(text(selector).replace(/[^0-9.]/g, ''));
const digits = (selector) => Number(text(selector).replace(/[^0-9]/g, ''));
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

const reading = (id) => text(`[data-metric=${id}] .axis b`);
const rows = () => [...document.querySelectorAll('tbody tr')].map((tr) => tr.cells[0].textContent.trim());
const row = (title) => [...element('tbody').rows[rows().indexOf(title)].cells].slice(1).map((td) => td.textContent);

// How long ago the time at the beginning of the text was, in seconds of one day.
function seconds_ago(of) {
	const [h, min, s] = of.slice(0, 8).split(':').map(Number), now = new Date();
	return ((now.getHours() - h) * 3600 + (now.getMinutes() - min) * 60 + now.getSeconds() - s + 86400) % 86400;
}

// A place in an element, after scrolling it into view: JSON, without the braces.
function spot(selector, part) {
	element(selector).scrollIntoView({block: 'center'});
	const {left, top, width, height} = element(selector).getBoundingClientRect();
	return `"x":${left + part * width},"y":${top + height / 2}`;
}

// What has the focus: the plot, or the text of the element. Nothing: ''.
const focused = () => document.activeElement === document.body ? '' :
	document.activeElement.closest('figure')?.dataset.metric ?? document.activeElement.textContent;

// The plots that leave more than a pixel of the width of their card free.
const narrow_plots = () => [...document.querySelectorAll('figure')].filter((f) => {
	const {paddingLeft, paddingRight} = getComputedStyle(f);
	return f.querySelector('svg').getBoundingClientRect().width <
		f.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight) - 1;
}).map((f) => f.dataset.metric);

// Does a path have points without length, or short lines?
const shapes = (d) => /^(M[0-9. -]+h0)+$/.test(d) ? 'dots' : /^(M[0-9. -]+H[0-9.-]+)+$/.test(d) ? 'dashes' : d;

// The marks of the legend, without their colors.
const swatches = (id) => [...document.querySelectorAll(`[data-metric=${id}] .values small`)].map((small) => {
	const style = getComputedStyle(small, '::before');
	return [style.width, style.height, style.borderRadius, style.backgroundImage.split('(')[0]].join(' ');
});

// The value that the scale has at the height of a horizontal line.
const at_height = (id, line) =>
	(98 - Number(path(id, line).split(/[ H]/)[1])) / 96 * number(`[data-metric=${id}] .scale span`);

// The first line of a plot, or another one: its path, its number of points, and its number of gaps.
const path = (id, line = 'first') => element(`[data-metric=${id}] .${line}`).getAttribute('d');
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

const opacity = (of) => of ? Number(getComputedStyle(of).opacity) * opacity(of.parentElement) : 1;

// The color as it is seen: with less than full opacity, some of the background of the page.
const seen = (color, alpha) => `rgb(${channels(color).slice(0, 3).map((c, i) =>
	c * alpha + channels(background(document.body))[i] * (1 - alpha)).join()})`;

function contrast(of) {
	const [a, b] = [getComputedStyle(of).color, background(of)].map((c) => luminance(seen(c, opacity(of))));
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
